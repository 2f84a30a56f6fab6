"""A double of the issuer for measured workers: HTTPS on loopback, the cluster's own CA, and no check of anything.

What is measured is the worker, its side of the protocol included. The real issuer is measured by `tests.bench.issuer`.
"""

import base64
import json
import ssl
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from agent.issuer.wire import PATH
from pki.authority import Authority
from pki.keys import PrivateKeyPem, load_public_key, make_key, public_key_pem
from pki.request import CertificateRequest, csr_public_key
from tests.bench.cloud import BUCKET, INSTANCE, Cloud
from units.envelope import decode_envelope, object_key, open_envelope
from units.manifest import Manifest

HOST = "127.0.0.1"


class IssuerDouble:
    """Serves until `close`. Certificates say the one instance's names, whoever asks."""

    def __init__(self, folder: Path, manifest: Manifest, cloud: Cloud) -> None:
        self._authority = _authority(manifest, cloud)
        self.server = ThreadingHTTPServer((HOST, manifest.identity.port), self._handler())
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self._credential(folder))
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, body: bytes) -> bytes:
        csrs = json.loads(body)["csrs"]
        issued = {profile: self._issue(profile, csr.encode()).decode() for profile, csr in csrs.items()}
        return json.dumps({"certificates": issued}).encode()

    def _issue(self, profile: str, csr: bytes) -> bytes:
        request = CertificateRequest(
            profile=profile,
            name="" if profile == "kube-proxy" else INSTANCE.hostname,
            ip_addresses=(INSTANCE.private_ip,) if profile == "kubelet-server" else (),
        )
        return self._authority.issue(request, csr_public_key(csr), datetime.now(UTC))

    def _credential(self, folder: Path) -> Path:
        key = make_key()
        request = CertificateRequest(profile="issuer-server", name="issuer.bench", ip_addresses=(HOST,))
        certificate = self._authority.issue(request, load_public_key(public_key_pem(key)), datetime.now(UTC))
        path = folder / "issuer-double.pem"
        path.touch(0o600)
        path.write_bytes(key.pem + certificate)
        return path

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == PATH
                answer = issuer.answer(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def _authority(manifest: Manifest, cloud: Cloud) -> Authority:
    """The cluster's kubernetes CA, opened as a control-plane node does."""
    public = manifest.trust.authority("kubernetes")
    key = f"{manifest.cluster.name}/{object_key(public.secret)}"
    envelope = decode_envelope(cloud.client("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())
    plain = cloud.client("kms").decrypt(
        CiphertextBlob=base64.b64decode(envelope.wrapped_key), EncryptionContext=envelope.context.as_kms()
    )
    return Authority.load(public.signing.encode(), PrivateKeyPem(open_envelope(envelope, data_key=plain["Plaintext"])))
