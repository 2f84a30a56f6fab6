"""A request to S3 on its way: signed, bounded, its refusal explained, and made again when S3 or the network hiccups."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

from agent.aws import s3_errors
from agent.aws.credentials import CredentialSource
from agent.aws.http import Broken, Http, Response, Rewindable, Timeouts, TooLarge
from agent.aws.sigv4 import sign
from agent.waits import Waits

Result = TypeVar("Result")
MAX_ERROR = 64 * 1024


@dataclass(frozen=True, slots=True)
class Request(Generic[Result]):
    """`key` is what errors name. `read` gets a success only."""

    method: str
    key: str
    url: str
    read: Callable[[Response, s3_errors.Asked], Result]
    timeouts: Timeouts
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Rewindable = b""
    body_sha256: str = ""  # of a body that is not held in memory
    verb: str = ""  # for errors, where the method does not tell what was asked


@dataclass(frozen=True, slots=True)
class Requester:
    """For one bucket and one thread. `headers` go with every request, unsigned."""

    bucket: str
    region: str
    credentials: CredentialSource
    renew: Callable[[], None]
    waits: Waits
    headers: Mapping[str, str]
    http: Http = field(default_factory=Http)

    def call(self, request: Request[Result], *, limit: float) -> Result:
        """Again and again while S3 hiccups, for `limit` seconds; then Transient."""
        name = f"S3 {request.verb or request.method} {request.key}"
        return self.waits.until(name, lambda: self.once(request), limit=limit, longest=10.0, on=s3_errors.Transient)

    def once(self, request: Request[Result]) -> Result:
        credentials = self.credentials()
        now = datetime.now(UTC)
        asked = s3_errors.Asked(
            request.verb or request.method, self.bucket, self.region, request.key, credentials.source, now
        )
        headers = sign(
            request.method,
            request.url,
            headers=request.headers,
            body=request.body if isinstance(request.body, bytes) else request.body_sha256,
            credentials=credentials,
            scope=(self.region, "s3"),
            now=now,
        )
        try:
            with self.http.exchange(
                request.method,
                request.url,
                headers={**headers, **self.headers},
                timeouts=request.timeouts,
                body=request.body or None,
            ) as response:
                if response.status in (200, 204, 206, 304):
                    return request.read(response, asked)
                error = s3_errors.explain(asked, response.status, response.headers, _start_of(response))
        except Broken as broken:
            raise s3_errors.unreachable(asked, str(broken)) from broken
        except TooLarge as endless:
            raise s3_errors.no_s3(asked, f"it says {endless} where S3 says little") from endless
        if isinstance(error, s3_errors.ExpiredToken):
            self.renew()
        raise error


def nothing(response: Response, _asked: s3_errors.Asked) -> None:
    response.body(limit=MAX_ERROR)


def _start_of(response: Response) -> bytes:
    try:
        return response.body(limit=MAX_ERROR)
    except TooLarge:
        return b""
