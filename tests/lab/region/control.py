"""What no AWS API can do: cut power, run commands in a machine, switch faults on. JSON over loopback, with a token."""

import hmac
import json
import logging
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOG = logging.getLogger(__name__)
BODY_LIMIT = 1 << 20
Operation = Callable[..., Any]


class ControlServer(ThreadingHTTPServer):
    """POST /OPERATION with a JSON object of arguments -> 200 and the JSON result, or 400 and {"error": text}."""

    daemon_threads = True

    def __init__(self, token: str, operations: Mapping[str, Operation]) -> None:
        self.token = token
        self.operations = operations
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 3600.0
    server: ControlServer

    def do_POST(self) -> None:
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.server.token}".encode()):
            return self._send(403, {"error": "wrong token"})
        operation = self.server.operations.get(self.path.lstrip("/"))
        length = int(self.headers.get("Content-Length", "0"))
        if operation is None or length > BODY_LIMIT:
            return self._send(400, {"error": f"no operation {self.path}, or a body over {BODY_LIMIT} bytes"})
        try:
            result = operation(**json.loads(self.rfile.read(length) or b"{}"))
        except Exception as error:
            LOG.exception("operation %s failed", self.path)
            return self._send(400, {"error": f"{type(error).__name__}: {error}"})
        return self._send(200, result)

    def _send(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        LOG.debug(format, *args)
