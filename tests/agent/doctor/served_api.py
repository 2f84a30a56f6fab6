"""What stands behind api.endpoint: a TLS server of the cluster's own authority, which can also refuse as an issuer."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pki.authority import Authority
from pki.certificate import combine
from pki.keys import load_private_key, make_key
from pki.request import CertificateRequest
from tests.agent.issuer.aws_doubles import Reply
from tests.agent.issuer.served import served


class ApiDouble:
    """`refuse` is what the issuer says to everybody."""

    def __init__(self, folder: Path) -> None:
        self.port = 0
        self.refusal: dict[str, str] = {"code": "issuer-refused"}
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._pem = folder / "api-server.pem"

    def certify(self, authority: Authority) -> None:
        """A certificate for 127.0.0.1. A server's context may get it after the server has begun to listen."""
        key = make_key()
        request = CertificateRequest(profile="apiserver", name="cp-1", ip_addresses=("10.99.0.2",))
        leaf = authority.issue(request, load_private_key(key).public_key(), datetime.now(UTC))
        self._pem.write_bytes(combine(leaf, key))
        self.tls.load_cert_chain(self._pem)

    def answer(self, _method: str, _path: str, _headers: dict[str, str], _body: bytes) -> Reply:
        return Reply(403, json.dumps(self.refusal).encode())


@contextmanager
def api_server(folder: Path) -> Iterator[ApiDouble]:
    api = ApiDouble(folder)
    with served(api.answer, api.tls) as url:
        api.port = int(url.rpartition(":")[2])
        yield api
