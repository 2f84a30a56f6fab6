"""What S3 says no with, as errors that name the object, the credentials and the next step."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from units.errors import BootwrightError, Fatal, Refused, Retryable

_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_ACTIONS = {
    "GET": "s3:GetObject",
    "HEAD": "s3:GetObject",
    "PUT": "s3:PutObject",
    "POST": "s3:PutObject",
    "ABORT": "s3:AbortMultipartUpload",
    "DELETE": "s3:DeleteObject",
    "LIST": "s3:ListBucket",
}
_MESSAGE = re.compile(rb"<Message>([^<]{1,300})</Message>")


class NoSuchKey(Fatal):
    """The bucket is there and may be read; the object is not there."""


class AccessDenied(Retryable):
    """Retryable, since policies get attached late; without s3:ListBucket S3 says this of a missing object, too."""


class PreconditionFailed(Retryable):
    """Somebody else wrote the object meanwhile."""


class NoSuchUpload(Retryable):
    """An upload in parts is over: completed or given up."""


class TooLong(Refused):
    """More bytes than whoever asked would accept."""


class Transient(Retryable):
    """S3 or the network hiccupped; the client has tried again already when a caller sees it."""


class ExpiredToken(Transient):
    """The credentials ended; new ones are due."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked, by whom, and when: the context of every refusal."""

    method: str
    bucket: str
    region: str
    key: str
    source: str  # whose credentials
    now: datetime

    @property
    def action(self) -> str:
        return _ACTIONS.get(self.method, f"s3:{self.method}")

    @property
    def where(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    code: str  # S3's own error code, or ""
    said: str


def explain(asked: Asked, status: int, headers: Mapping[str, str], body: bytes) -> BootwrightError:
    """The error for an answer that is not a success, whatever its status says."""
    answer = _Answer(status, headers, _first(_CODE, body), _first(_MESSAGE, body) or f"HTTP {status}")
    # 200: S3 had to say something before it knew (multipart).
    by_status = _busy if status >= 500 or status == 200 else _BY_STATUS.get(status, _unexpected)
    return _BY_CODE.get(answer.code, by_status)(asked, answer)


def _access_denied(asked: Asked, answer: _Answer) -> AccessDenied:
    return AccessDenied(
        "s3-access-denied",
        f"S3 denies {asked.action} on {asked.where} to {asked.source}: {answer.said}",
        remedy=f"allow {asked.action} on arn:aws:s3:::{asked.bucket}/{asked.key} in the instance profile's policy, and "
        "look for a bucket policy or an endpoint policy that denies it; a missing object looks the same without "
        "s3:ListBucket",
        after=60,
    )


def unreachable(asked: Asked, why: str) -> Transient:
    return Transient(
        "s3-unreachable",
        f"S3 does not answer for {asked.where}: {why}",
        remedy="check the route to S3: a gateway endpoint or NAT for this subnet, its security group, and DNS",
    )


def too_long(asked: Asked, limit: int) -> TooLong:
    return TooLong(
        "s3-object-too-long",
        f"{asked.where} is longer than the {limit} bytes allowed; stopped reading",
        remedy="somebody replaced the object: look at its versions in S3, and who wrote them",
    )


def wrong_size(asked: Asked, *, found: int, expected: int) -> Refused:
    return Refused(
        "s3-wrong-size",
        f"{asked.where} has {found} bytes, but the signed manifest says {expected}",
        remedy="upload it again with `coordinator assets add`",
    )


def no_s3(asked: Asked, what: str) -> Fatal:
    return Fatal(
        "s3-answer-unreadable",
        f"what answers for {asked.where} is not S3: {what}",
        remedy="if `endpoint` is set in the user-data, check that S3 is what answers there",
    )


def too_slow(key: str, size: int, slowest: int) -> Transient:
    return Transient(
        "s3-too-slow",
        f"S3 did not take the {size} bytes of {key} at {slowest} bytes a second, which is the least",
        remedy="look at the network of the instance, and at what else uses it; the next round tries again",
        after=60,
    )


def _no_such_bucket(asked: Asked, _answer: _Answer) -> Fatal:
    return Fatal(
        "s3-no-such-bucket",
        f"the bucket {asked.bucket!r} does not exist (asked in {asked.region})",
        remedy="check `store` in the user-data; `coordinator init` makes the bucket",
    )


def _clock_skew(asked: Asked, answer: _Answer) -> Retryable:
    return Retryable(
        "s3-clock-skew",
        f"S3 refuses requests from this node because its clock says {asked.now:%Y-%m-%d %H:%M:%S} UTC, "
        f"but S3's says {answer.headers.get('date', 'something else')}; 15 minutes are allowed",
        remedy="check time synchronisation: `chronyc tracking`, `timedatectl`; on EC2 the source is 169.254.169.123",
        after=30,
    )


def _credentials_refused(asked: Asked, answer: _Answer) -> Retryable:
    return Retryable(
        "s3-credentials-refused",
        f"S3 does not accept the credentials of {asked.source} ({answer.code}): {answer.said}",
        remedy="check that the instance profile's role still exists; a role made anew needs a new instance profile",
        after=60,
    )


def _elsewhere(asked: Asked, answer: _Answer) -> BootwrightError:
    region = answer.headers.get("x-amz-bucket-region")
    if region and region != asked.region:
        return Fatal(
            "s3-wrong-region",
            f"the bucket {asked.bucket!r} lies in {region}, but this node asks in {asked.region}",
            remedy=f'put "region": "{region}" into the user-data (`coordinator userdata` does when the spec says so)',
        )
    return Retryable(
        "s3-redirect",
        f"S3 redirects {asked.where} ({answer.status}); redirects are never followed",
        remedy="right after a bucket was made this passes within minutes; otherwise check region and endpoint",
        after=60,
    )


def _first(pattern: re.Pattern[bytes], body: bytes) -> str:
    match = pattern.search(body)
    return match[1].decode("utf-8", errors="replace") if match else ""


def _expired(asked: Asked, answer: _Answer) -> ExpiredToken:
    return ExpiredToken(
        "s3-expired-token",
        f"S3 says that the credentials of {asked.source} have expired: {answer.said}",
        remedy="IMDS should hand out new ones: check the node's clock, then `curl` the security-credentials path",
    )


def _missing(asked: Asked, _answer: _Answer) -> NoSuchKey:
    return NoSuchKey(
        "s3-no-such-key",
        f"{asked.where} does not exist",
        remedy="check store and cluster in the user-data; the bucket's versioning keeps what was deleted",
    )


def _no_such_upload(asked: Asked, _answer: _Answer) -> NoSuchUpload:
    return NoSuchUpload(
        "s3-no-such-upload",
        f"S3 does not know the upload of {asked.where} any more: it was completed or given up",
        remedy="the next round begins anew; a lifecycle rule must leave uploads a day at least",
    )


def _overtaken(asked: Asked, _answer: _Answer) -> PreconditionFailed:
    return PreconditionFailed(
        "s3-precondition-failed",
        f"{asked.where} was written by somebody else meanwhile",
        remedy="read it again, then decide again; two nodes may have been at it at once",
    )


def _busy(asked: Asked, answer: _Answer) -> Transient:
    return Transient(
        "s3-slow-down",
        f"S3 is busy ({answer.status} {answer.code}) with {asked.where}",
        remedy="this passes by itself; if not, look at the AWS Health dashboard of the region",
    )


def _damaged(asked: Asked, answer: _Answer) -> Transient:
    return Transient(
        "s3-damaged-on-the-way",
        f"S3 received other bytes for {asked.where} than were sent, and stored nothing: {answer.said}",
        remedy="this passes by itself; if not, a proxy on the way changes what it carries",
    )


def _unexpected(asked: Asked, answer: _Answer) -> Fatal:
    return Fatal(
        "s3-unexpected",
        f"S3 answers {answer.status} {answer.code} to {asked.method} {asked.where}: {answer.said}",
        remedy="if `endpoint` is set in the user-data, check that S3 is what answers there",
    )


_Explanation = Callable[[Asked, _Answer], BootwrightError]

# docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; the code decides before the status does
_BY_CODE: Mapping[str, _Explanation] = {
    "NoSuchBucket": _no_such_bucket,
    "NoSuchUpload": _no_such_upload,
    "InvalidPart": _unexpected,
    "InvalidPartOrder": _unexpected,
    "EntityTooSmall": _unexpected,
    "RequestTimeTooSkewed": _clock_skew,
    "ExpiredToken": _expired,
    "InvalidAccessKeyId": _credentials_refused,
    "SignatureDoesNotMatch": _credentials_refused,
    "InvalidToken": _credentials_refused,
    "InvalidSecurity": _credentials_refused,
    "PermanentRedirect": _elsewhere,
    "TemporaryRedirect": _elsewhere,
    "AuthorizationHeaderMalformed": _elsewhere,
    "IllegalLocationConstraintException": _elsewhere,
    "BadDigest": _damaged,
    "XAmzContentChecksumMismatch": _damaged,
    "XAmzContentSHA256Mismatch": _damaged,
    "SlowDown": _busy,
    "RequestTimeout": _busy,
    "OperationAborted": _busy,
}
_BY_STATUS: Mapping[int, _Explanation] = {
    301: _elsewhere,
    302: _elsewhere,
    307: _elsewhere,
    308: _elsewhere,
    403: _access_denied,
    404: _missing,
    409: _busy,  # ConditionalRequestConflict: two writers at once
    412: _overtaken,
    429: _busy,
}
