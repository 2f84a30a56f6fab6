"""Signature Version 4, checked from the server's side (AWS General Reference, "Signature Version 4"). Pure."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

ALGORITHM = "AWS4-HMAC-SHA256"
SKEW_SECONDS = {"s3": 900}  # S3 allows 15 minutes, everything else 5
DEFAULT_SKEW_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Signature:
    """An Authorization header, taken apart."""

    access_key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    value: str


def parse_authorization(header: str) -> Signature | None:
    """None when the header is no complete SigV4 header."""
    algorithm, _, rest = header.partition(" ")
    parts = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    scope = parts.get("Credential", "").split("/")
    if algorithm != ALGORITHM or len(scope) != 5 or scope[4] != "aws4_request":
        return None
    signed = tuple(filter(None, parts.get("SignedHeaders", "").split(";")))
    value = parts.get("Signature", "")
    if not signed or not value:
        return None
    return Signature(scope[0], scope[1], scope[2], scope[3], signed, value)


def unsigned_headers(signature: Signature, headers: Mapping[str, str]) -> tuple[str, ...]:
    """The headers AWS insists on and that this signature leaves out."""
    required = {"host"} | {name for name in headers if name.startswith("x-amz-")}
    return tuple(sorted(required - set(signature.signed_headers)))


def seconds_off(headers: Mapping[str, str], now: datetime) -> float | None:
    """How far the request's clock is from `now`; None when it has no readable x-amz-date."""
    try:
        at = datetime.strptime(headers.get("x-amz-date", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    return abs((now - at).total_seconds())


def expected_signature(
    signature: Signature,
    secret: str,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body_sha256: str,
) -> str:
    """What the signature must be if the caller held `secret` and meant exactly this request."""
    canonical = "\n".join(
        (
            method,
            _canonical_path(path, signature.service),
            _canonical_query(query),
            "".join(f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signature.signed_headers),
            ";".join(signature.signed_headers),
            headers.get("x-amz-content-sha256", body_sha256) if signature.service == "s3" else body_sha256,
        )
    )
    scope = f"{signature.date}/{signature.region}/{signature.service}/aws4_request"
    text = "\n".join((ALGORITHM, headers.get("x-amz-date", ""), scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _canonical_path(path: str, service: str) -> str:
    once = quote(unquote(path), safe="/-_.~")
    return once if service == "s3" else quote(once, safe="/-_.~")


def _canonical_query(query: str) -> str:
    pairs = (part.partition("=") for part in query.split("&") if part)
    encoded = sorted(
        (quote(unquote(name), safe="-_.~"), quote(unquote(value), safe="-_.~")) for name, _, value in pairs
    )
    return "&".join(f"{name}={value}" for name, value in encoded)
