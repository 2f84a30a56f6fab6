"""IMDS with the two kinds of credentials that a worker may prove itself with."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from agent.aws.imds import Imds
from tests.agent.issuer.aws_doubles import PrincipalDouble, Reply
from tests.agent.issuer.served import Respond, served

_IDENTITY = "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance"
_ROLES = "/latest/meta-data/iam/security-credentials/"


@contextmanager
def imds(identity: PrincipalDouble, profile: PrincipalDouble | None = None) -> Iterator[Imds]:
    with served(respond_with(identity, profile)) as url:
        yield Imds(url)


def respond_with(identity: PrincipalDouble, profile: PrincipalDouble | None) -> Respond:
    def respond(method: str, path: str, _headers: dict[str, str], _body: bytes) -> Reply:
        if method == "PUT":
            return Reply(200, b"token")
        if path == _IDENTITY:
            return Reply(200, _credentials(identity))
        if profile is not None and path == _ROLES:
            return Reply(200, b"nodes")
        if profile is not None and path == f"{_ROLES}nodes":
            return Reply(200, _credentials(profile))
        return Reply(404)

    return respond


def _credentials(principal: PrincipalDouble) -> bytes:
    return json.dumps(
        {
            "Code": "Success",
            "AccessKeyId": principal.akid,
            "SecretAccessKey": principal.secret,
            "Token": principal.token,
            "Expiration": "2099-01-01T00:00:00Z",
        }
    ).encode()
