"""KMS Decrypt: the one call that opens a data key.

One signed JSON POST, not botocore: a reboot opens its secrets again, and importing botocore costs it 110 ms.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from agent.aws.credentials import CredentialSource
from agent.aws.http import Broken, Http, Timeouts, TooLarge
from agent.aws.sigv4 import sign
from agent.waits import Waits
from units.envelope import Envelope
from units.errors import BootwrightError, Fatal, Refused, Retryable

LIMIT = 60.0  # seconds, retries included
SCHEME = "awskms:"
_ARN = re.compile(r"^arn:(aws[-a-z]*):kms:([-a-z0-9]+):[0-9]{12}:key/[-A-Za-z0-9]+$")
_TIMEOUTS = Timeouts(connect=3.05, read=10.0, total=15.0)
_MAX_ANSWER = 64 * 1024
_BUSY = frozenset(
    {"ThrottlingException", "KMSInternalException", "DependencyTimeoutException", "LimitExceededException"}
)
_EXPIRED = frozenset({"ExpiredTokenException", "ExpiredToken", "RequestExpired"})


class _Transient(Retryable):
    """KMS or the network hiccupped."""


class Kms:
    """Opens data keys that were wrapped under a symmetric KMS key and an encryption context."""

    def __init__(
        self,
        credentials: CredentialSource,
        *,
        endpoint: str | None = None,
        renew: Callable[[], None] | None = None,
        waits: Waits | None = None,
    ) -> None:
        self._credentials = credentials
        self._endpoint = endpoint
        self._renew = renew or (lambda: None)
        self._waits = waits or Waits()
        self._http = Http()

    def unwrap(self, envelope: Envelope) -> bytes:
        """The plain data key. Refused `secret-tampered` if KMS does not find the envelope's context in it."""
        return self._waits.until(
            f"KMS Decrypt of {envelope.context.name}", lambda: self._once(envelope), limit=LIMIT, on=_Transient
        )

    def _once(self, envelope: Envelope) -> bytes:
        arn = envelope.key.removeprefix(SCHEME)
        region, host = _host_of(arn)
        credentials = self._credentials()
        url = f"{self._endpoint or host}/"
        body = json.dumps(
            {
                "CiphertextBlob": envelope.wrapped_key,
                "EncryptionContext": envelope.context.as_kms(),
                "KeyId": arn,  # else KMS would open it with any key that the blob names
            }
        ).encode()
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "TrentService.Decrypt"}
        signed = sign(
            "POST",
            url,
            headers=headers,
            body=body,
            credentials=credentials,
            scope=(region, "kms"),
            now=datetime.now(UTC),
        )
        try:
            with self._http.exchange("POST", url, headers=signed, timeouts=_TIMEOUTS, body=body) as response:
                status, answer = response.status, _json(response.body(limit=_MAX_ANSWER))
        except (Broken, TooLarge) as error:
            raise _unreachable(url, str(error)) from error
        if status == 200:
            return _plain_text(answer)
        refusal = _explain(status, answer, arn, envelope, credentials.source)
        if _code(answer) in _EXPIRED:
            self._renew()
        raise refusal


def _host_of(arn: str) -> tuple[str, str]:
    match = _ARN.match(arn)
    if match is None:
        raise Fatal(
            "kms-key-invalid",
            f"{arn!r} is not the ARN of a KMS key",
            remedy="trust.secrets_key in the signed manifest must be awskms:arn:aws:kms:REGION:ACCOUNT:key/ID",
        )
    suffix = "amazonaws.com.cn" if match[1] == "aws-cn" else "amazonaws.com"
    return match[2], f"https://kms.{match[2]}.{suffix}"


def _json(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _code(answer: dict[str, Any]) -> str:
    return str(answer.get("__type", "")).rpartition("#")[2]


def _plain_text(answer: dict[str, Any]) -> bytes:
    try:
        return base64.b64decode(str(answer["Plaintext"]), validate=True)
    except (KeyError, binascii.Error, ValueError) as error:
        raise Fatal("kms-unexpected", "KMS answered without a plain text", remedy="check `endpoint`") from error


def _explain(status: int, answer: dict[str, Any], arn: str, envelope: Envelope, source: str) -> BootwrightError:
    code = _code(answer)
    said = str(answer.get("message") or answer.get("Message") or code or f"HTTP {status}")[:300]
    name = envelope.context.name
    if code in {"InvalidCiphertextException", "IncorrectKeyException"}:
        return Refused(
            "secret-tampered",
            f"KMS cannot open the data key of secret {name!r} in its context {envelope.context.as_kms()} ({code}): "
            "it was sealed for something else, or changed",
            remedy="restore the previous version of the object in S3, and find out who wrote it",
        )
    if code in {"AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException"}:
        return Retryable(
            "kms-access-denied",
            f"KMS denies kms:Decrypt with {arn} to {source} for secret {name!r}: {said}",
            remedy="allow kms:Decrypt to the control plane's role, in the key policy, with encryption context "
            f"{envelope.context.as_kms()}",
            after=60,
        )
    if code in {"DisabledException", "KMSInvalidStateException", "NotFoundException", "KeyUnavailableException"}:
        return Fatal(
            "kms-key-unusable",
            f"the KMS key {arn} cannot be used ({code}): {said}",
            remedy="enable it, or cancel its deletion; without it no secret of the cluster can be opened",
        )
    if status >= 500 or status == 429 or code in _BUSY or code in _EXPIRED:
        return _Transient("kms-busy", f"KMS is busy ({status} {code}): {said}", remedy="this passes by itself")
    return Fatal("kms-unexpected", f"KMS answers {status} {code}: {said}", remedy="check `endpoint` in the user-data")


def _unreachable(url: str, why: str) -> _Transient:
    return _Transient(
        "kms-unreachable",
        f"KMS at {url} does not answer: {why}",
        remedy="check the route to KMS: an interface endpoint or NAT for this subnet, its security group, and DNS",
    )
