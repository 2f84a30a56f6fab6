"""A worker's request, made honestly, with a handle on every step for who wants to spoil it."""

import base64
import hashlib
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from agent.aws.credentials import Credentials
from agent.aws.sigv4 import sign
from agent.issuer.answers import Asked
from agent.issuer.wire import SCHEME, STS_BODY, bound_headers, encode_body
from pki.certificate import load_credential
from pki.keys import PrivateKeyPem, make_key
from pki.request import CertificateRequest, build_csr
from tests.agent.issuer.aws_doubles import PrincipalDouble
from tests.agent.issuer.world import INSTANCE, NODE, World


def csrs_for(keys: dict[str, PrivateKeyPem], node: str = NODE) -> dict[str, bytes]:
    requests = {
        "kubelet-client": CertificateRequest(profile="kubelet-client", name=node),
        "kubelet-server": CertificateRequest(profile="kubelet-server", name=node, ip_addresses=("10.99.1.5",)),
        "kube-proxy": CertificateRequest(profile="kube-proxy"),
    }
    return {profile: build_csr(requests[profile], key) for profile, key in keys.items()}


@dataclass
class Draft:
    world: World
    principal: PrincipalDouble
    keys: dict[str, PrivateKeyPem] = field(
        default_factory=lambda: {name: make_key() for name in ("kubelet-client", "kubelet-server", "kube-proxy")}
    )
    csrs: dict[str, bytes] = field(default_factory=dict)
    source: str = "10.99.1.5"
    age: float = 0.0  # seconds by which the worker's clock is behind
    audience: str = ""
    region: str = ""
    certificate: bytes | None = None  # combined PEM: a renewal
    body: Callable[[bytes], bytes] = bytes  # what is sent instead, after signing
    sent: Callable[[bytes], bytes] = bytes  # what is signed and sent
    fields: Callable[[dict[str, Any]], Any] = dict  # of the token
    raw: Callable[[bytes], bytes] = bytes  # the token's JSON
    text: Callable[[str], str] = str  # the header
    authorizations: Callable[[tuple[str, ...]], tuple[str, ...]] = tuple
    headers: Callable[[dict[str, str]], dict[str, str]] = dict  # what is bound

    def asked(self) -> Asked:
        body = self.sent(encode_body(self.csrs or csrs_for(self.keys)))
        if self.certificate is not None:
            der = ssl.PEM_cert_to_DER_cert(load_credential(self.certificate).leaf.pem.decode())
            return Asked(self.source, self.authorizations(()), der, self.body(body))
        found = self.authorizations((self.authorization(body),))
        return Asked(self.source, found, None, self.body(body))

    def authorization(self, body: bytes) -> str:
        config, principal = self.world.config, self.principal
        signed = sign(
            "POST",
            f"{config.sts_endpoint}/",
            headers=self.headers(bound_headers(self.audience or config.audience, hashlib.sha256(body).hexdigest())),
            body=STS_BODY,
            credentials=Credentials(principal.akid, principal.secret, principal.token),
            scope=(self.region or config.region, "sts"),
            now=datetime.now(UTC) - timedelta(seconds=self.age),
        )
        signature = signed["authorization"].rpartition("Signature=")[2]
        token = {"v": 1, "akid": principal.akid, "date": signed["x-amz-date"], "token": principal.token}
        raw = self.raw(json.dumps(self.fields(token | {"sig": signature})).encode())
        return self.text(SCHEME + base64.urlsafe_b64encode(raw).rstrip(b"=").decode())


def honest(world: World, instance_id: str = INSTANCE) -> Draft:
    principal = next(each for each in world.aws.sts.principals.values() if each.arn.endswith(instance_id))
    return Draft(world, principal)
