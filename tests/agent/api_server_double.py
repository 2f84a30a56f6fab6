"""ApiServerDouble: the few paths of an API server that the agent asks, over real TLS with client certificates.

It knows what decides here: who is asking (the certificate's subject), what RBAC the applied objects give to whom, that
server-side apply owns labels by field manager, and that an apply for another uid is refused. The real one is asked
in test_labels_real.py.
"""

import json
import ssl
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pki.authority import Authority
from pki.certificate import combine
from pki.keys import load_public_key, make_key, public_key_pem
from pki.request import CertificateRequest


@dataclass
class NodeRecord:
    uid: str
    labels: dict[str, str] = field(default_factory=dict)
    owned: set[str] = field(default_factory=set)  # labels of the manager "bootwright"


class ApiServerDouble:
    def __init__(self, authority: Authority, folder: Path) -> None:
        self.nodes: dict[str, NodeRecord] = {}
        self.objects: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str, str]] = []  # user, verb, path
        self.late_rights = 0  # so many requests are refused although a binding is there
        key = make_key()
        request = CertificateRequest(profile="apiserver", name="cp", ip_addresses=("127.0.0.2",))
        pem = authority.issue(request, load_public_key(public_key_pem(key)), datetime.now(UTC))
        (folder / "server.pem").write_bytes(combine(pem, key))
        self.authority = folder / "ca.crt"
        self.authority.write_bytes(authority.certificate.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.pem")
        context.load_verify_locations(self.authority)
        context.verify_mode = ssl.CERT_REQUIRED
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def allowed(self, groups: list[str], verb: str, resource: str) -> bool:
        if "system:masters" in groups:
            return True
        if self.late_rights:
            self.late_rights -= 1
            return False
        for binding in (one for one in self.objects.values() if one["kind"] == "ClusterRoleBinding"):
            role = self.objects.get(f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{binding['roleRef']['name']}")
            if role and {subject["name"] for subject in binding["subjects"]} & set(groups):
                return any(resource in rule["resources"] and verb in rule["verbs"] for rule in role["rules"])
        return False

    def answer(self, method: str, target: str, body: bytes, groups: list[str]) -> tuple[int, dict[str, Any]]:
        path = urlsplit(target).path
        verb = "get" if method == "GET" else "patch"
        resource = path.split("/")[-2]
        if not self.allowed(groups, verb, resource):
            return 403, {"kind": "Status", "message": f"cannot {verb} resource {resource}"}
        if resource != "nodes":
            self.objects[path] = json.loads(body)
            return 201, {"metadata": {"name": path}}
        node = self.nodes.get(path.rpartition("/")[2])
        if node is None:
            return 404, {"kind": "Status"}
        if verb == "patch":
            if parse_qs(urlsplit(target).query)["fieldManager"] != ["bootwright"]:
                return 400, {}
            wanted = json.loads(body)
            if wanted["metadata"]["uid"] != node.uid:
                return 422, {"message": "metadata.uid: field is immutable"}  # as 1.36.2 says it
            for gone in node.owned - wanted["metadata"]["labels"].keys():
                del node.labels[gone]
            node.labels |= wanted["metadata"]["labels"]
            node.owned = set(wanted["metadata"]["labels"])
        return 200, {"metadata": {"uid": node.uid, "labels": node.labels}}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                subject = dict(pair for part in self.connection.getpeercert()["subject"] for pair in part)
                verb = "get" if self.command == "GET" else "patch"
                double.asked.append((subject["commonName"], verb, urlsplit(self.path).path))
                groups = [subject.get("organizationName", "")]
                status, document = double.answer(self.command, self.path, body, groups)
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PATCH = _serve  # noqa: N815  http.server's names

            def log_message(self, *_: object) -> None:
                pass

        return Handler
