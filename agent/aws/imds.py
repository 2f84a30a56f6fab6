"""The instance metadata service, version 2 only: who this machine is, and its credentials.

A token comes first (PUT), lives six hours, and is renewed when IMDS forgets it (401). Every call waits at most
`LIMIT` seconds in all, so that a machine without IMDS says so soon instead of hanging.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

from agent.aws.credentials import Credentials
from agent.aws.http import Broken, Http, Timeouts, TooLarge
from agent.waits import Waits
from units.errors import Fatal, Retryable

BASE_URL = "http://169.254.169.254"
LIMIT = 20.0  # seconds: the network of an instance is up within a few
CREDENTIALS_LIMIT = 60.0  # seconds: the instance profile may follow the launch by some
RENEW_BEFORE = timedelta(minutes=5)
_TIMEOUTS = Timeouts(connect=1.0, read=2.0, total=5.0)
_MAX_BYTES = 64 * 1024
_TOKEN_SECONDS = "21600"  # noqa: S105  six hours, the longest allowed

_HOP_LIMIT = (
    "check that the instance has the metadata service enabled (HttpEndpoint=enabled); inside a container the hop "
    "limit must be 2, on the host itself 1 is right; no firewall rule may drop 169.254.169.254 for root"
)


@dataclass(frozen=True, slots=True)
class Instance:
    """What IMDS says about this machine; all of it fixed for the life of the instance."""

    instance_id: str
    region: str
    zone: str
    machine_type: str
    architecture: Literal["amd64", "arm64"]
    account_id: str
    image_id: str
    private_ip: str
    local_hostname: str
    launched: str = ""  # RFC 3339: when EC2 took the order, or the one to start it again


class _NotYet(Retryable):
    """What the first seconds after a launch may still lack."""


class Imds:
    """One client per process; it keeps the token, the connection and the role's credentials."""

    def __init__(self, base_url: str = BASE_URL, *, waits: Waits | None = None) -> None:
        self._base_url = base_url.rstrip("/")
        self._waits = waits or Waits()
        self._http = Http()
        self._token: str | None = None
        self._credentials: Credentials | None = None
        self.clock_ahead: float | None = None  # seconds of this machine's clock, when IMDS last told the time

    def instance(self) -> Instance:
        """Raises Retryable `imds-unreachable` without IMDS, Fatal `imds-unexpected` for an answer without sense."""
        document = self._document("/latest/dynamic/instance-identity/document")
        try:
            return Instance(
                instance_id=_text(document, "instanceId"),
                region=_text(document, "region"),
                zone=_text(document, "availabilityZone"),
                machine_type=_text(document, "instanceType"),
                architecture="arm64" if _text(document, "architecture") == "arm64" else "amd64",
                account_id=_text(document, "accountId"),
                image_id=_text(document, "imageId"),
                private_ip=self._required("/latest/meta-data/local-ipv4"),
                local_hostname=self._required("/latest/meta-data/local-hostname"),
                launched=str(document.get("pendingTime", ""))[:40],  # nothing depends on it
            )
        except (KeyError, TypeError) as error:
            raise _unexpected("instance-identity/document", f"lacks {error}") from error

    def region(self) -> str:
        return self._required("/latest/meta-data/placement/region")

    def user_data(self) -> bytes | None:
        """As the launch template has it; None if there is none."""
        return self._get("/latest/user-data")

    def tags(self) -> dict[str, str]:
        """The instance's tags; empty unless InstanceMetadataTags is enabled. One request for each tag."""
        names = (self._get("/latest/meta-data/tags/instance") or b"").decode(errors="replace").split("\n")
        return {name: self._required(f"/latest/meta-data/tags/instance/{quote(name)}") for name in names if name}

    def credentials(self) -> Credentials:
        """The instance profile's role, renewed five minutes before it ends. A CredentialSource."""
        if self._credentials is None or _ends_soon(self._credentials):
            self._credentials = self._waits.until(
                "waiting for the instance profile's credentials",
                self._role_credentials,
                limit=CREDENTIALS_LIMIT,
                on=_NotYet,
            )
        return self._credentials

    def forget_credentials(self) -> None:
        """AWS refused them: ask IMDS anew at the next use."""
        self._credentials = None

    def identity_credentials(self) -> Credentials:
        """The instance identity role: it has no permissions, and proves which instance this is (trust.md 2.3)."""
        path = "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance"
        return self._waits.until(
            "waiting for the instance identity credentials",
            lambda: self._parse_credentials(path, source="the instance identity role"),
            limit=CREDENTIALS_LIMIT,
            on=_NotYet,
        )

    def _role_credentials(self) -> Credentials:
        listing = "/latest/meta-data/iam/security-credentials/"
        role = (self._get(listing) or b"").decode(errors="replace").strip().split("\n")[0]
        if not role:
            raise _no_profile()
        return self._parse_credentials(listing + role, source=f"role {role}")

    def _parse_credentials(self, path: str, *, source: str) -> Credentials:
        body = self._get(path)
        if body is None:
            raise _no_profile()
        document = _json(path, body)
        if document.get("Code") != "Success":
            raise _NotYet(
                "imds-credentials-refused",
                f"IMDS has no credentials for {source}: {str(document.get('Code'))[:80]}",
                remedy="AssumeRoleUnauthorizedAccess means that the role does not trust ec2.amazonaws.com",
            )
        try:
            return Credentials(
                access_key_id=_text(document, "AccessKeyId"),
                secret_access_key=_text(document, "SecretAccessKey"),
                token=_text(document, "Token"),
                expires=datetime.fromisoformat(_text(document, "Expiration")),
                source=source,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _unexpected(path, f"holds no usable credentials ({error})") from error

    def _document(self, path: str) -> dict[str, Any]:
        return _json(path, self._required(path).encode())

    def _required(self, path: str) -> str:
        body = self._get(path)
        if body is None:
            raise _unexpected(path, "is missing")
        return body.decode(errors="replace").strip()

    def _get(self, path: str) -> bytes | None:
        """None for 404, which to IMDS means: there is no such thing."""
        return self._waits.until(f"asking IMDS for {path}", lambda: self._get_once(path), limit=LIMIT, longest=2.0)

    def _get_once(self, path: str) -> bytes | None:
        if self._token is None:
            self._token = self._new_token()
        status, body = self._exchange("GET", path, {"X-aws-ec2-metadata-token": self._token})
        if status == 404:
            return None
        if status == 401:
            self._token = None  # IMDS forgets tokens when an instance moves to another host
            raise Retryable("imds-token-refused", f"IMDS no longer knows the token it gave for {path}")
        if status != 200:
            raise Retryable("imds-unreachable", f"IMDS answers {status} for {path}", remedy=_HOP_LIMIT)
        return body

    def _new_token(self) -> str:
        status, body = self._exchange(
            "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": _TOKEN_SECONDS}
        )
        if status == 403:
            raise Fatal("imds-disabled", "IMDS refuses a token: the metadata service is turned off", remedy=_HOP_LIMIT)
        if status != 200 or not body:
            raise Retryable("imds-unreachable", f"IMDS answers {status} to a token request", remedy=_HOP_LIMIT)
        return body.decode("ascii", errors="replace")

    def _exchange(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        try:
            with self._http.exchange(method, self._base_url + path, headers=headers, timeouts=_TIMEOUTS) as response:
                if response.date:
                    self.clock_ahead = (datetime.now(UTC) - response.date).total_seconds()
                return response.status, response.body(limit=_MAX_BYTES)
        except (Broken, TooLarge) as error:
            raise Retryable(
                "imds-unreachable",
                f"the instance metadata service at {self._base_url} does not answer: {error}",
                remedy=_HOP_LIMIT,
            ) from error


def _ends_soon(credentials: Credentials) -> bool:
    return credentials.expires is not None and datetime.now(UTC) > credentials.expires - RENEW_BEFORE


def _json(path: str, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _unexpected(path, "is not JSON") from error
    if not isinstance(document, dict):
        raise _unexpected(path, "is not a JSON object")
    return document


def _text(document: dict[str, Any], name: str) -> str:
    value = document[name]
    if not isinstance(value, str) or not value:
        raise TypeError(f"a text for {name}")
    return value


def _no_profile() -> _NotYet:
    return _NotYet(
        "imds-no-credentials",
        "IMDS has no role credentials for this instance",
        remedy="attach an instance profile to the instance or its launch template",
    )


def _unexpected(path: str, what: str) -> Fatal:
    return Fatal(
        "imds-unexpected",
        f"IMDS: {path} {what}",
        remedy="compare with `curl` on the node; this is not what EC2's metadata service answers",
    )
