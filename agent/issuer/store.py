"""The node's own access to the cluster's prefix in S3, for the ledger: bounded for a waiting worker."""

import re
import threading
import xml.etree.ElementTree as ET  # bounded, from the store that holds everything else, too
from collections.abc import Iterator
from datetime import UTC, datetime
from urllib.parse import quote

from agent.aws.credentials import Credentials
from agent.aws.http import Broken, Http, Timeouts, TooLarge
from agent.aws.imds import Imds
from agent.aws.s3 import S3, Bucket
from agent.aws.sigv4 import sign
from agent.issuer.codes import later
from agent.records import S3Records
from agent.settings import Settings

_LIMIT = 3.0  # seconds: a worker waits at the other end, and will come again
_TIMEOUTS = Timeouts(connect=1.0, read=2.0, total=3.0)
_MAX_LISTING = 4 * 1024 * 1024
_NAMESPACE = re.compile(r"\{[^}]*\}")


class SharedCredentials:
    """One IMDS client for all threads of a process. A CredentialSource."""

    def __init__(self, imds: Imds) -> None:
        self._imds = imds
        self._lock = threading.Lock()

    def __call__(self) -> Credentials:
        with self._lock:
            return self._imds.credentials()

    def renew(self) -> None:
        with self._lock:
            self._imds.forget_credentials()


def bucket_of(settings: Settings, region: str) -> Bucket:
    return Bucket(settings.bucket, settings.region or region, settings.endpoint)


def records(settings: Settings, region: str, credentials: SharedCredentials) -> S3Records:
    """For one thread."""
    s3 = S3(bucket_of(settings, region), credentials, renew=credentials.renew, timeouts=_TIMEOUTS, limit=_LIMIT)
    return S3Records(s3, settings.prefix)


def list_keys(settings: Settings, region: str, credentials: SharedCredentials, prefix: str) -> Iterator[str]:
    """Keys under the cluster's prefix, without it. Retryable `ledger-unreachable`."""
    http, token = Http(), ""
    while True:
        page = _page(http, bucket_of(settings, region), credentials(), settings.prefix + prefix, token)
        for key in page.iterfind("Contents/Key"):
            yield (key.text or "").removeprefix(settings.prefix)
        token = page.findtext("NextContinuationToken") or ""
        if not token:
            return


def _page(http: Http, bucket: Bucket, credentials: Credentials, prefix: str, token: str) -> ET.Element:
    query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
    asked = "&".join(f"{name}={quote(value, safe='-_.~')}" for name, value in sorted(query.items()))
    url = f"{bucket.url('-').removesuffix('-')}?{asked}"
    headers = sign(
        "GET", url, headers={}, body=b"", credentials=credentials, scope=(bucket.region, "s3"), now=datetime.now(UTC)
    )
    try:
        with http.exchange("GET", url, headers=headers, timeouts=Timeouts()) as response:
            status, body = response.status, response.body(limit=_MAX_LISTING)
        root = ET.fromstring(body) if status == 200 else None  # noqa: S314  see the import
    except (Broken, TooLarge, ET.ParseError) as error:
        raise later("ledger-unreachable", f"S3 does not list {prefix}: {error}") from error
    if root is None:
        raise later(
            "ledger-unreachable", f"S3 refuses s3:ListBucket of {prefix} to {credentials.source}: HTTP {status}"
        )
    for element in root.iter():
        element.tag = _NAMESPACE.sub("", element.tag)
    return root
