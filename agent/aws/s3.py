"""S3 for a node: get and put, small or from a file; head, list, delete.

Bounded in bytes and time, and every refusal explained (s3_errors). Not botocore: its S3 client costs 250 ms of import
and model loading on a path that runs every minute (trust.md 1.1).
"""

import base64
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, BinaryIO, Protocol, TypeVar
from urllib.parse import quote

from agent.aws import s3_errors
from agent.aws.credentials import CredentialSource
from agent.aws.download import Download
from agent.aws.http import Response, Timeouts, TooLarge
from agent.aws.s3_requests import MAX_ERROR, Request, Requester, nothing
from agent.aws.sigv4 import encode_path
from agent.waits import Waits

if TYPE_CHECKING:
    from agent.aws.multipart import Upload
    from agent.aws.s3_listing import Listed, Page  # its HTML entities are nothing for the poll of every minute

Result = TypeVar("Result")
LIMIT = 60.0  # seconds in all for a small object, retries included
_MAX_PAGE = 4 * 1024 * 1024  # of a listing: a thousand keys of at most 1 kB
SLOWEST = 2_000_000  # bytes per second that a large object must at least come or go with


@dataclass(frozen=True, slots=True)
class Object:
    """`body` is None when `if_none_match` was still right: nothing changed."""

    body: bytes | None = field(repr=False)
    etag: str


class Store(Protocol):
    """The reading half of `S3`: all that verifying needs. Raises the errors of agent.aws.s3_errors."""

    def get(self, key: str, *, max_bytes: int, if_none_match: str | None = None) -> Object: ...


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where objects lie. `endpoint` stands in for AWS's own and is then addressed path-style."""

    name: str
    region: str
    endpoint: str | None = None

    def url(self, key: str) -> str:
        if any(part in (".", "..", "") for part in key.split("/")):
            raise ValueError(f"{key!r} is not a plain S3 key")  # HTTP clients rewrite such paths after signing
        return f"{self._root}/{encode_path(key)}"

    def listing_url(self, prefix: str, token: str) -> str:
        query = {"encoding-type": "url", "list-type": "2", "prefix": prefix}
        query |= {"continuation-token": token} if token else {}
        pairs = "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in sorted(query.items()))
        return f"{self._root}/?{pairs}"

    @property
    def _root(self) -> str:
        if self.endpoint:
            return f"{self.endpoint.rstrip('/')}/{self.name}"
        suffix = "amazonaws.com.cn" if self.region.startswith("cn-") else "amazonaws.com"
        host = f"s3.{self.region}.{suffix}"
        if "." in self.name:  # the certificate *.s3.REGION covers one label only
            return f"https://{host}/{self.name}"
        return f"https://{self.name}.{host}"


@dataclass(frozen=True, slots=True)
class PartSizes:
    """A file of more than `above` bytes goes in parts of `least` bytes, or larger ones if they were too many."""

    above: int = 5 * 1024**3  # S3 takes no more in one request
    least: int = 64 * 1024**2


PARTS = PartSizes()


@dataclass(frozen=True, slots=True)
class Head:
    size: int
    sha256: str  # hex; of an object in parts, that of the parts' digests; empty if it was stored without


class S3:
    """A client for one bucket and one thread.

    `credentials` is asked before every request; `renew` is told when S3 calls them expired. Everything raised is a
    BootwrightError; those of agent.aws.s3_errors have classes of their own where a caller may want to go on.
    """

    def __init__(
        self,
        bucket: Bucket,
        credentials: CredentialSource,
        *,
        renew: Callable[[], None] | None = None,
        waits: Waits | None = None,
        timeouts: Timeouts | None = None,
        limit: float = LIMIT,
        instance_id: str = "",
    ) -> None:
        """instance_id: sent as User-Agent. The policy of `coordinator iam` compares it with the credentials' own."""
        self._bucket = bucket
        self._timeouts = timeouts or Timeouts()
        self._limit = limit
        agent = {"User-Agent": instance_id} if instance_id else {}
        renew = renew or (lambda: None)
        self._requests = Requester(bucket.name, bucket.region, credentials, renew, waits or Waits(), agent)
        self._lock = threading.Lock()  # of the siblings: who asks for credentials is not made for many

    def get(self, key: str, *, max_bytes: int, if_none_match: str | None = None) -> Object:
        """Raises NoSuchKey, AccessDenied, or TooLong after at most `max_bytes`."""

        def read(response: Response, asked: s3_errors.Asked) -> Object:
            etag = response.headers.get("etag", "")
            if response.status == 304:
                return Object(None, etag)
            try:
                return Object(response.body(limit=max_bytes), etag)
            except TooLarge as error:
                raise s3_errors.too_long(asked, max_bytes) from error

        headers = {"If-None-Match": if_none_match} if if_none_match else {}
        return self._call(Request("GET", key, self._bucket.url(key), read, self._timeouts, headers))

    def get_to_file(self, key: str, file: IO[bytes], *, size: int) -> str:
        """Stream exactly `size` bytes into `file` (seekable, readable); their hex sha256, which the caller compares.

        What the file holds already is taken for the beginning of the object, and only the rest is asked for; so is
        what came before a connection broke.
        """
        download = Download(file, size)
        if download.complete and size:
            return download.digest
        timeouts = Timeouts(self._timeouts.connect, self._timeouts.read, self._timeouts.total + size / SLOWEST)
        whole = Request("GET", key, self._bucket.url(key), download.read, timeouts)

        def once() -> str:
            try:
                return self._requests.once(replace(whole, headers=download.headers()))
            except s3_errors.PreconditionFailed:
                download.restart()  # replaced meanwhile
                return self._requests.once(whole)

        limit = self._limit + size / SLOWEST
        return self._requests.waits.until(f"S3 GET {key}", once, limit=limit, longest=10.0, on=s3_errors.Transient)

    def sibling(self) -> "S3":
        """A client of the same bucket for another thread, with the same credentials; it waits without a word."""
        return S3(
            self._bucket,
            self._shared(self._requests.credentials),
            renew=self._shared(self._requests.renew),
            timeouts=self._timeouts,
            limit=self._limit,
            instance_id=self._requests.headers.get("User-Agent", ""),
        )

    def _shared(self, call: Callable[[], Result]) -> Callable[[], Result]:
        def alone() -> Result:
            with self._lock:
                return call()

        return alone

    def put(self, key: str, body: bytes, *, if_match: str | None = None, if_none_match: str | None = None) -> str:
        """The new ETag. Raises PreconditionFailed when the object is not what `if_match` or `if_none_match` says."""
        conditions = {"If-Match": if_match, "If-None-Match": if_none_match}
        headers = {name: value for name, value in conditions.items() if value}

        def read(response: Response, _asked: s3_errors.Asked) -> str:
            response.body(limit=MAX_ERROR)
            return response.headers.get("etag", "")

        return self._call(Request("PUT", key, self._bucket.url(key), read, self._timeouts, headers, body))

    def put_file(self, key: str, file: BinaryIO, *, size: int, sha256: str, parts: PartSizes = PARTS) -> str:
        """Stream a file; S3 stores it only if what arrives has this hex digest. What `head` tells as its sha256 then.

        In parts if it is large: then whoever reads it must compare the digest of what comes, S3 does not keep it.
        """
        if size > parts.above:
            return self._upload(key, file, size).send(sha256=sha256, least=parts.least)
        # S3 answers once it has stored and summed up all of it: seconds for a gigabyte, after the last byte was sent.
        patience = self._timeouts.read + size / SLOWEST
        timeouts = Timeouts(self._timeouts.connect, patience, self._timeouts.total + patience)
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        headers = {
            "Content-Length": str(size),
            "x-amz-checksum-sha256": checksum,
            "x-amz-sdk-checksum-algorithm": "SHA256",
        }
        self._call(Request("PUT", key, self._bucket.url(key), nothing, timeouts, headers, file, sha256))
        return sha256

    def _upload(self, key: str, file: BinaryIO, size: int) -> "Upload":
        from agent.aws.multipart import Pace, Target, Upload

        def stored() -> str:
            try:
                return self.head(key).sha256
            except s3_errors.NoSuchKey:
                return ""

        target = Target(key, lambda query: f"{self._bucket.url(key)}?{query}", stored, self._requests)
        return Upload(target, file, size, Pace(self._timeouts, self._limit, SLOWEST))

    def head(self, key: str) -> Head:
        """Raises NoSuchKey."""

        def read(response: Response, _asked: s3_errors.Asked) -> Head:
            # Behind a dash: of how many parts. moto leaves that out.
            checksum = response.headers.get("x-amz-checksum-sha256", "").partition("-")[0]
            return Head(int(response.headers.get("content-length", 0)), base64.b64decode(checksum).hex())

        headers = {"x-amz-checksum-mode": "ENABLED"}
        return self._call(Request("HEAD", key, self._bucket.url(key), read, self._timeouts, headers))

    def list(self, prefix: str, *, most: int) -> "tuple[Listed, ...]":
        """Every object whose key starts with `prefix`, in order of key; TooLong if there are more than `most`."""
        found: list[Listed] = []
        token = ""
        while True:
            url = self._bucket.listing_url(prefix, token)
            page = self._call(Request("GET", prefix, url, _page, self._timeouts, verb="LIST"))
            found += page.objects
            if len(found) > most:
                raise s3_errors.TooLong("s3-listing-too-long", f"more than {most} objects lie under {prefix}")
            if not page.next_token:
                return tuple(found)
            token = page.next_token

    def delete(self, key: str) -> None:
        """Nothing happens if it is gone already."""
        self._call(Request("DELETE", key, self._bucket.url(key), nothing, self._timeouts))

    def _call(self, request: Request[Result]) -> Result:
        return self._requests.call(request, limit=self._limit)


def _page(response: Response, asked: s3_errors.Asked) -> "Page":
    from agent.aws.s3_listing import read_page

    try:
        return read_page(response.body(limit=_MAX_PAGE))
    except TooLarge as error:
        raise s3_errors.too_long(asked, _MAX_PAGE) from error
