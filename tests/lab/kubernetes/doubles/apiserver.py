"""A DOUBLE of kube-apiserver: TLS, client certificates and RBAC as the static pod's own flags say; objects in etcd.

It has no discovery, no watch, no admission but NodeRestriction, and checks no schema. It does the one part of the
controller manager that others rely on: a node that went silent is not Ready any more.
"""

import argparse
import contextlib
import http.server
import json
import ssl
import sys
import threading
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .api import Api, Asked, Refusal
from .etcd import Etcd, EtcdError
from .lifecycle import watch_nodes
from .rules import User
from .tls import Reloading

SAYS = "APISERVER DOUBLE (not kube-apiserver)"
HEALTH = ("/readyz", "/livez", "/healthz")
BODY_LIMIT = 3 << 20  # as the real one's
IDLE_SECONDS = 300


def say(text: str) -> None:
    sys.stdout.write(f"{SAYS}: {text}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    flags = parse(arguments)
    context = ssl.create_default_context(cafile=flags.etcd_cafile)
    context.load_cert_chain(flags.etcd_certfile, flags.etcd_keyfile)
    etcd = Etcd(flags.etcd_servers.split(",")[0], context)
    watcher = threading.Thread(target=watch_nodes, args=(etcd, say), daemon=True)
    watcher.start()
    server = ApiServer(flags, etcd)
    say(f"serves on port {flags.secure_port}; keeps its objects in {flags.etcd_servers}")
    server.serve_forever()
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The flags that this double uses; the others are judged with the static pod."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("client-ca-file", "tls-cert-file", "tls-private-key-file", "etcd-servers", "etcd-cafile"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("etcd-certfile", "etcd-keyfile", "authorization-mode", "enable-admission-plugins"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--secure-port", type=int, required=True)
    flags, _ = parser.parse_known_args(arguments)
    if flags.authorization_mode != "Node,RBAC" or "NodeRestriction" not in flags.enable_admission_plugins:
        sys.exit(f"{SAYS}: authorization-mode {flags.authorization_mode!r} and its plugins are not what it does")
    return flags


class ApiServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, flags: argparse.Namespace, etcd: Etcd) -> None:
        self.api, self.etcd = Api(etcd), etcd

        def make() -> ssl.SSLContext:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(flags.tls_cert_file, flags.tls_private_key_file)
            context.load_verify_locations(flags.client_ca_file)
            # The real one lets a bad certificate in and answers 401; here the handshake fails.
            context.verify_mode = ssl.CERT_OPTIONAL
            return context

        self.context = Reloading("serving certificate", (flags.tls_cert_file, flags.client_ca_file), make, say)
        super().__init__(("0.0.0.0", flags.secure_port), Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The handshake happens here, in the connection's own thread."""
        request.settimeout(IDLE_SECONDS)
        try:
            connection = self.context().wrap_socket(request, server_side=True)
        except OSError as error:
            if isinstance(error, ssl.SSLError):
                say(f"{client_address[0]}: handshake failed: {error}")
            return
        with contextlib.suppress(ConnectionError), connection:  # whoever checks its health hangs up early
            super().finish_request(connection, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ApiServer

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        if split.path in HEALTH:
            return self._health(split.path)
        try:
            status, value = self._answer(split.path, dict(parse_qsl(split.query, keep_blank_values=True)))
        except Refusal as error:
            status, value = error.code, _status(error.code, error.reason, str(error))
        except EtcdError as error:
            status, value = 500, _status(500, "InternalError", str(error))
        if status >= 300 or self.command not in ("GET", "PATCH", "PUT"):
            say(f"{self._user().name} {self.command} {self.path} {status} {value.get('message', '')}".rstrip())
        return self._send(status, json.dumps(value).encode(), "application/json")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def _answer(self, path: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        import yaml

        length = int(self.headers.get("Content-Length") or 0)
        if length > BODY_LIMIT:
            raise Refusal(413, "RequestEntityTooLarge", f"limit is {BODY_LIMIT}")
        body = self.rfile.read(length)
        user = self._user()
        if not user.name:
            raise Refusal(401, "Unauthorized", "Unauthorized")
        content_type = (self.headers.get("Content-Type") or "").partition(";")[0]
        try:
            value = yaml.safe_load(body) if "yaml" in content_type else json.loads(body or b"null")
        except (ValueError, yaml.YAMLError) as error:
            raise Refusal(400, "BadRequest", f"the body cannot be read: {error}") from error
        return self.server.api.answer(user, Asked(self.command, path, query, content_type, value))

    def _user(self) -> User:
        """The client certificate's subject: CN is the user, O are the groups (x509 request authentication)."""
        subject = (self.connection.getpeercert() or {}).get("subject", ())
        pairs = [pair for part in subject for pair in part]
        names = [value for key, value in pairs if key == "commonName"]
        groups = {value for key, value in pairs if key == "organizationName"}
        return User(names[0] if names else "", frozenset(groups | {"system:authenticated"}))

    def _health(self, path: str) -> None:
        try:
            if path != "/livez":
                self.server.etcd.get("/double/health")
        except EtcdError as error:
            return self._send(500, f"[-]etcd failed: {error}\n".encode(), "text/plain")
        return self._send(200, b"ok", "text/plain")

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return SAYS

    def date_time_string(self, timestamp: float | None = None) -> str:
        del timestamp
        return datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")

    def log_message(self, *_arguments: Any) -> None:
        """`say` has said what matters."""


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
