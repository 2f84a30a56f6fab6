"""STS as far as node identity needs it: answers only to a verified signature, where moto answers 200 to any."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4
from xml.sax.saxutils import escape

from tests.lab.region.calls import Call
from tests.lab.region.gateway import Answer
from tests.lab.region.principals import Keyring, Principal
from tests.lab.region.refusals import Refusal
from tests.lab.region.settings import ACCOUNT

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


def get_caller_identity(call: Call, principal: Principal) -> Answer:
    """XML, or JSON for those who accept it, as the real one does (the CVE-2020-16250 way in)."""
    result = {"Arn": principal.arn, "UserId": principal.user_id, "Account": ACCOUNT}
    request = str(uuid4())
    if "application/json" in call.headers.get("accept", ""):
        document = {
            "GetCallerIdentityResponse": {
                "GetCallerIdentityResult": result,
                "ResponseMetadata": {"RequestId": request},
            }
        }
        return Answer(json.dumps(document).encode(), "application/json")
    return Answer(_envelope("GetCallerIdentity", _fields(result), request))


class AssumeRole:
    """For tests of people (and thieves) who assume a node's role: the session name is theirs to choose."""

    def __init__(self, keyring: Keyring, role_ids: Callable[[], dict[str, str]]) -> None:
        self._keyring = keyring
        self._role_ids = role_ids

    def __call__(self, call: Call, principal: Principal) -> Answer:
        role = call.form.get("RoleArn", "").rpartition("/")[2]
        session = call.form.get("RoleSessionName", "")
        if not re.fullmatch(r"[\w+=,.@-]{2,64}", session, re.ASCII):
            raise Refusal("ValidationError", "RoleSessionName must be 2 to 64 of [\\w+=,.@-]")
        role_id = self._role_ids().get(role)
        if principal.role or role_id is None:
            raise Refusal("AccessDenied", f"{principal.arn} is not authorized to perform: sts:AssumeRole", 403)
        made = self._keyring.issue_role(role, role_id, session, timedelta(hours=1))
        credentials = {
            "AccessKeyId": made.access_key,
            "SecretAccessKey": made.secret,
            "SessionToken": made.token,
            "Expiration": made.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        user = {"Arn": made.principal.arn, "AssumedRoleId": made.principal.user_id}
        inner = f"<Credentials>{_fields(credentials)}</Credentials><AssumedRoleUser>{_fields(user)}</AssumedRoleUser>"
        return Answer(_envelope("AssumeRole", inner, str(uuid4())))


def _fields(values: dict[str, str]) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items())


def _envelope(action: str, inner: str, request: str) -> bytes:
    return (
        f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{inner}</{action}Result>'
        f"<ResponseMetadata><RequestId>{request}</RequestId></ResponseMetadata></{action}Response>"
    ).encode()
