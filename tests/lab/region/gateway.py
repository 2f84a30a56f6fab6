"""The door in front of moto: who is calling (SigV4), may they (IAM), is a fault on; then an own answer or moto's."""

import base64
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import sleep

from tests.lab.region.calls import CURRENT_CALL, Call, Environ, read_call
from tests.lab.region.faults import Faults
from tests.lab.region.permissions import Permissions
from tests.lab.region.policy import Permission, Statement, is_allowed
from tests.lab.region.principals import IDENTITY_ROLE, Keyring, Principal
from tests.lab.region.refusals import Refusal, StartResponse, respond, respond_refusal
from tests.lab.region.settings import ACCOUNT

LOG = logging.getLogger(__name__)
WsgiApplication = Callable[[Environ, StartResponse], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    content_type: str = "text/xml"


AnswerCall = Callable[[Call, Principal], Answer]
ALWAYS_ALLOWED = frozenset({("sts", "GetCallerIdentity")})  # AWS: no policy can take it away


@dataclass(frozen=True, slots=True)
class Gateway:
    """answers: calls the lab does itself because moto does them wrongly, by (service, action).

    check: raises the Refusal of a call that moto would wrongly do. policies: role name -> its statements.
    permissions: what a call needs. skew: source address -> seconds its view of AWS's clock is off.
    """

    moto: WsgiApplication
    keyring: Keyring
    policies: Callable[[str], tuple[Statement, ...]]
    permissions: Permissions
    faults: Faults
    answers: Mapping[tuple[str, str], AnswerCall]
    skew: Callable[[str], float]
    check: Callable[[Call], None]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        service = "s3"
        start_response = _logged(environ, start_response)
        try:
            call = read_call(environ)
            service = call.service
            environ["lab.call"] = f"{call.service}:{call.action} {call.resource}"
            now = datetime.now(UTC) + timedelta(seconds=self.skew(call.source))
            principal = self.keyring.authenticate(call, now)
            environ["lab.caller"] = principal.arn
            self._spoil(call, principal)
            self._authorize(call, principal)
            _check_checksum(call)
            self.check(call)
            own = self.answers.get((call.service, call.action))
            if own:
                answer = own(call, principal)
                return respond(start_response, 200, answer.body, [("Content-Type", answer.content_type)])
        except Refusal as refusal:
            head = environ["REQUEST_METHOD"] == "HEAD"
            LOG.info("refused: %s", refusal)
            return respond_refusal(start_response, service, refusal, head=head)
        CURRENT_CALL.set(call)
        return self._through_moto(call, principal, environ, start_response)

    def _through_moto(
        self, call: Call, principal: Principal, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        """S3 hides a missing key from those who may not list: 403 instead of 404 (S3 API, GetObject)."""
        reading = call.service == "s3" and call.action == "GetObject" and principal.role
        if not reading or self._may(principal, self.permissions.to_know_of_absence(call, principal)):
            return self.moto(environ, start_response)
        seen: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(self.moto(environ, lambda status, headers, *_: seen.append((status, headers))))
        status, headers = seen[-1]
        if status.startswith("404") and b"<Code>NoSuchBucket<" not in body:
            refusal = _denied(call.service, self.permissions.to_know_of_absence(call, principal), principal)
            return respond_refusal(start_response, "s3", refusal, head=call.method == "HEAD")
        start_response(status, headers)
        return [body]

    def _spoil(self, call: Call, principal: Principal) -> None:
        fault = self.faults.take(call, principal)
        if fault is None:
            return
        if fault.delay:
            sleep(fault.delay)
        if fault.code:
            raise Refusal(fault.code, fault.message, fault.http_status)

    def _authorize(self, call: Call, principal: Principal) -> None:
        if not principal.role or (call.service, call.action) in ALWAYS_ALLOWED:
            return
        if call.service == "s3" and call.action != "CreateBucket" and not _bucket_exists(call.bucket):
            return  # S3 says NoSuchBucket to everybody: without a bucket there is no policy to ask
        for permission in self.permissions.needed(call, principal):
            if not self._may(principal, permission):
                raise _denied(call.service, permission, principal)

    def _may(self, principal: Principal, permission: Permission) -> bool:
        if principal.role == IDENTITY_ROLE:
            return False
        return is_allowed(self.policies(principal.role), permission)


def _logged(environ: Environ, start_response: StartResponse) -> StartResponse:
    def log_and_start(status: str, headers: list[tuple[str, str]], *rest: object) -> object:
        LOG.info(
            "%s %s %s %s",
            environ.get("REMOTE_ADDR"),
            environ.get("lab.caller", "-"),
            environ.get("lab.call", environ.get("PATH_INFO")),
            status,
        )
        return start_response(status, headers, *rest)

    return log_and_start


def _bucket_exists(name: str) -> bool:
    from moto.s3.models import s3_backends

    return not name or name in s3_backends[ACCOUNT]["aws"].buckets


def _denied(service: str, permission: Permission, principal: Principal) -> Refusal:
    text = (
        f"User: {principal.arn} is not authorized to perform: {permission.action} on resource: "
        f"{permission.resource} because no identity-based policy allows the {permission.action} action"
    )
    if service == "ec2":
        return Refusal("UnauthorizedOperation", f"You are not authorized to perform this operation. {text}", 403)
    if service == "kms":
        return Refusal("AccessDeniedException", text, 400)
    return Refusal("AccessDenied", text, 403)


def _check_checksum(call: Call) -> None:
    """moto stores a body whose declared checksum is wrong (reference/trust.md 1.7); S3 answers BadDigest."""
    declared = call.headers.get("x-amz-checksum-sha256")
    if declared and declared != base64.b64encode(bytes.fromhex(call.body_sha256)).decode():
        raise Refusal("BadDigest", "The SHA256 you specified did not match the calculated checksum.")
    declared = call.headers.get("content-md5")
    if declared:
        digest = hashlib.md5(call.body.read(), usedforsecurity=False).digest()
        call.body.seek(0)
        if declared != base64.b64encode(digest).decode():
            raise Refusal("BadDigest", "The Content-MD5 you specified did not match what we received.")
