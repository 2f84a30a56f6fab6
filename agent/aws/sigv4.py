"""AWS signature version 4, header form (docs.aws.amazon.com, "Create a signed AWS API request").

Forty lines instead of botocore.auth, whose import costs a no-change poll 42 ms of its 150 (measured, docs/adr/0004);
tests/agent/aws/test_sigv4.py holds both against each other over generated requests.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote, urlsplit

from agent.aws.credentials import Credentials

ALGORITHM = "AWS4-HMAC-SHA256"


def sign(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: bytes | str,
    credentials: Credentials,
    scope: tuple[str, str],
    now: datetime,
) -> dict[str, str]:
    """Every header to send. `scope` is (region, service); the path of `url` must be percent-encoded once already.

    A `body` that is not held in memory is given by its hex sha256.
    """
    parts = urlsplit(url)
    digest = body if isinstance(body, str) else hashlib.sha256(body).hexdigest()
    time = now.strftime("%Y%m%dT%H%M%SZ")
    signed = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    signed |= {"host": parts.netloc, "x-amz-date": time, "x-amz-content-sha256": digest}
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [
            method,
            parts.path or "/",
            _canonical_query(parts.query),
            *(f"{name}:{signed[name]}" for name in sorted(signed)),
            "",
            names,
            digest,
        ]
    )
    region, service = scope
    credential_scope = f"{time[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join([ALGORITHM, time, credential_scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in (time[:8], region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    credential = f"{credentials.access_key_id}/{credential_scope}"
    signed["authorization"] = f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return signed


def encode_path(key: str) -> str:
    """An S3 key as a path: percent-encoded exactly once, as S3 (alone among AWS services) wants it."""
    return quote(key, safe="/-_.~")


def _canonical_query(query: str) -> str:
    pairs = sorted((name, value) for name, _, value in (pair.partition("=") for pair in query.split("&") if pair))
    return "&".join(f"{name}={value}" for name, value in pairs)
