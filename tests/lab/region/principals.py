"""Who holds which access key: the operator, roles as instances carry them, and instance identities."""

import hmac
import secrets
import string
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from tests.lab.region.calls import Call
from tests.lab.region.refusals import Refusal
from tests.lab.region.settings import ACCOUNT, OPERATOR_KEY
from tests.lab.region.sigv4 import (
    DEFAULT_SKEW_SECONDS,
    SKEW_SECONDS,
    expected_signature,
    parse_authorization,
    seconds_off,
    unsigned_headers,
)

UNSIGNED_PAYLOADS = ("UNSIGNED-PAYLOAD", "STREAMING-")
IDENTITY_ROLE = "aws:ec2-instance"
# Signed for us-east-1 at AWS; with an endpoint of one's own, botocore signs them for the client's region.
GLOBAL_SERVICES = frozenset({"iam", "route53"})


@dataclass(frozen=True, slots=True)
class Principal:
    """role: empty for the operator. session: the instance id for all that IMDS hands out.

    instance: the same, but empty for a role that somebody assumed: there the session's name is anybody's choice.
    """

    arn: str
    user_id: str
    role: str = ""
    session: str = ""
    instance: str = ""

    @property
    def role_arn(self) -> str:
        """aws:PrincipalArn: the role's own, where there is one, and not the session's."""
        return f"arn:aws:iam::{ACCOUNT}:role/{self.role}" if self.role else self.arn


@dataclass(frozen=True, slots=True)
class Credentials:
    access_key: str
    secret: str = field(repr=False)
    token: str = field(repr=False)
    issued: datetime
    expires: datetime
    principal: Principal


OPERATOR = Principal(arn=f"arn:aws:iam::{ACCOUNT}:user/operator", user_id="AIDABWLABOPERATOR000")


class Keyring:
    """Every access key the region accepts. Thread-safe."""

    def __init__(self, operator_secret: str, region: str) -> None:
        self._region = region
        forever = datetime.max.replace(tzinfo=UTC)
        operator = Credentials(OPERATOR_KEY, operator_secret, "", datetime.now(UTC), forever, OPERATOR)
        self._keys = {OPERATOR_KEY: operator}
        self._lock = threading.Lock()

    def issue_role(self, role: str, role_id: str, session: str, lifetime: timedelta) -> Credentials:
        """Credentials of an instance's role, as IMDS hands them out: the session is the instance id."""
        return self._issue(_session(role, role_id, session, instance=session), lifetime)

    def issue_assumed(self, role: str, role_id: str, session: str, lifetime: timedelta) -> Credentials:
        """The same for whoever called sts:AssumeRole, under a session name of their choice."""
        return self._issue(_session(role, role_id, session, instance=""), lifetime)

    def issue_identity(self, instance_id: str, lifetime: timedelta) -> Credentials:
        """The EC2 instance identity role (reference/trust.md 2.3): proves the instance, may do nothing else."""
        arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{IDENTITY_ROLE}/{instance_id}"
        user_id = f"{ACCOUNT}:{IDENTITY_ROLE}:{instance_id}"
        return self._issue(Principal(arn, user_id, IDENTITY_ROLE, instance_id), lifetime)

    def authenticate(self, call: Call, now: datetime) -> Principal:
        """The one who signed this very request, or the Refusal its service would send."""
        refuse = _Refusals(call.service)
        signature = parse_authorization(call.headers.get("authorization", ""))
        if signature is None:
            raise refuse.missing()
        with self._lock:
            credentials = self._keys.get(signature.access_key)
        if credentials is None:
            raise refuse.unknown_key(signature.access_key)
        if signature.region != self._region and call.service not in GLOBAL_SERVICES:
            raise refuse.wrong_region(signature.region, self._region)
        off = seconds_off(call.headers, now)
        if off is None or off > SKEW_SECONDS.get(call.service, DEFAULT_SKEW_SECONDS):
            raise refuse.skewed()
        if not hmac.compare_digest(credentials.token, call.headers.get("x-amz-security-token", "")):
            raise refuse.wrong_token()
        # By the clock that they were issued by: a skew moves what IMDS says of their end as it moves `now`.
        if credentials.expires <= datetime.now(UTC):
            raise refuse.expired()
        if unsigned := unsigned_headers(signature, call.headers):
            raise refuse.mismatch(f"headers present but not signed: {', '.join(unsigned)}")
        if signature.date != call.headers["x-amz-date"][:8]:
            raise refuse.mismatch("credential scope and x-amz-date name different days")
        expected = expected_signature(
            signature, credentials.secret, call.method, call.path, call.query, call.headers, call.body_sha256
        )
        if not hmac.compare_digest(expected.encode(), signature.value.encode()):
            raise refuse.mismatch("the signature does not match the request")
        _check_payload(call)
        return credentials.principal

    def _issue(self, principal: Principal, lifetime: timedelta) -> Credentials:
        now = datetime.now(UTC).replace(microsecond=0)
        alphabet = string.ascii_uppercase + string.digits
        made = Credentials(
            access_key="ASIA" + "".join(secrets.choice(alphabet) for _ in range(16)),
            secret=secrets.token_urlsafe(30),
            token="IQoJ" + secrets.token_urlsafe(300).replace("-", "+").replace("_", "/"),
            issued=now,
            expires=now + lifetime,
            principal=principal,
        )
        with self._lock:
            self._keys[made.access_key] = made
        return made


class AssumedKeys:
    """A keyring that knows no instances, for sts:AssumeRole."""

    def __init__(self, keyring: Keyring) -> None:
        self.issue_role = keyring.issue_assumed


def _session(role: str, role_id: str, session: str, *, instance: str) -> Principal:
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{session}"
    return Principal(arn, f"{role_id}:{session}", role, session, instance)


def _check_payload(call: Call) -> None:
    declared = call.headers.get("x-amz-content-sha256", "")
    if declared and not declared.startswith(UNSIGNED_PAYLOADS) and declared != call.body_sha256:
        raise Refusal(
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        )


@dataclass(frozen=True, slots=True)
class _Refusals:
    """Each service words the same refusal its own way; clients decide on these codes."""

    service: str

    def missing(self) -> Refusal:
        if self.service == "s3":
            return Refusal("AccessDenied", "Access Denied", 403)
        if self.service == "ec2":
            return Refusal("AuthFailure", "AWS was not able to authenticate the request", 401)
        return self._pick("MissingAuthenticationToken", "Request is missing Authentication Token")

    def unknown_key(self, key: str) -> Refusal:
        if self.service == "s3":
            return Refusal(
                "InvalidAccessKeyId",
                f"The AWS Access Key Id you provided does not exist in our records: {key}",
                403,
            )
        if self.service == "ec2":
            return Refusal("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
        code = "UnrecognizedClient" if self.service == "kms" else "InvalidClientTokenId"
        return self._pick(code, "The security token included in the request is invalid.")

    def wrong_region(self, found: str, expected: str) -> Refusal:
        text = f"the region '{found}' is wrong; expecting '{expected}'"
        if self.service == "s3":
            return Refusal("AuthorizationHeaderMalformed", text, 400)
        return self.mismatch(text)

    def wrong_token(self) -> Refusal:
        if self.service == "s3":
            return Refusal("InvalidToken", "The provided token is malformed or otherwise invalid.", 400)
        return self.unknown_key("")

    def skewed(self) -> Refusal:
        if self.service == "s3":
            return Refusal(
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.",
                403,
            )
        if self.service == "ec2":
            return Refusal("RequestExpired", "Request has expired.", 400)
        code = "InvalidSignature" if self.service == "kms" else "SignatureDoesNotMatch"
        return self._pick(code, "Signature expired or not yet current.")

    def expired(self) -> Refusal:
        if self.service == "s3":
            return Refusal("ExpiredToken", "The provided token has expired.", 400)
        if self.service == "ec2":
            return Refusal("RequestExpired", "Request has expired.", 400)
        return self._pick("ExpiredToken", "The security token included in the request is expired")

    def mismatch(self, why: str) -> Refusal:
        text = f"The request signature we calculated does not match the signature you provided. ({why})"
        if self.service == "ec2":
            return Refusal("AuthFailure", text, 401)
        return self._pick("InvalidSignature" if self.service == "kms" else "SignatureDoesNotMatch", text)

    def _pick(self, code: str, message: str) -> Refusal:
        return Refusal(code + "Exception", message, 400) if self.service == "kms" else Refusal(code, message, 403)
