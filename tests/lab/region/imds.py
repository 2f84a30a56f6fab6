"""IMDSv2 (EC2 user guide, "Use IMDS"): the source address says which instance is asking."""

import json
import logging
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.lab.region.faults import Faults, ImdsFault
from tests.lab.region.metadata import TIME, VERSIONS, InstanceView, identity_document, listing, meta_data
from tests.lab.region.principals import Credentials, Keyring

LOG = logging.getLogger(__name__)
TOKEN_PATH = "/latest/api/token"
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "X-aws-ec2-metadata-token"
MAX_TTL = 21600
RENEW_BEFORE = timedelta(minutes=5)  # IAM user guide: new credentials appear five minutes before the old expire
IDENTITY = "identity-credentials/ec2/security-credentials/ec2-instance"
REASONS = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Not Allowed"}
PAGE = """<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>{0} - {1}</title>
 </head>
 <body>
  <h1>{0} - {1}</h1>
 </body>
</html>
"""


class Metadata:
    """The answers, apart from HTTP: tokens and credentials per instance, and what is at each path."""

    def __init__(
        self,
        find: Callable[[str], tuple[InstanceView, str] | None],
        keyring: Keyring,
        faults: Faults,
        credentials_lifetime: timedelta,
    ) -> None:
        """find: source address -> the instance's view and its role's id."""
        self.find = find
        self.faults = faults
        self._keyring = keyring
        self._lifetime = credentials_lifetime
        self._tokens: dict[str, tuple[str, float]] = {}
        self._credentials: dict[tuple[str, str], Credentials] = {}
        self._lock = threading.Lock()

    def token(self, instance_id: str, ttl: int) -> str:
        token = "AQAEA" + secrets.token_urlsafe(40) + "=="
        with self._lock:
            self._tokens[token] = (instance_id, time.monotonic() + ttl)
        return token

    def accepts(self, instance_id: str, token: str) -> bool:
        with self._lock:
            holder, expires = self._tokens.get(token, ("", 0.0))
        return holder == instance_id and time.monotonic() < expires

    def content(self, view: InstanceView, role_id: str, path: str, fault: ImdsFault) -> bytes | None:
        """The body at `path` (without the leading slash), or None for 404."""
        version, _, rest = path.partition("/")
        if not version:
            return "\n".join(VERSIONS).encode()
        top, _, below = rest.partition("/")
        if version not in VERSIONS or top not in ("", "user-data", "dynamic", "meta-data"):
            return None
        if top == "user-data":
            return None if below else view.user_data
        if top == "dynamic":
            return _at({"instance-identity/document": identity_document(view)}, below)
        if top == "meta-data":
            return self._meta_data(view, role_id, below, fault)
        return b"dynamic\nmeta-data\nuser-data" if view.user_data else b"dynamic\nmeta-data"

    def _meta_data(self, view: InstanceView, role_id: str, below: str, fault: ImdsFault) -> bytes | None:
        now = datetime.now(UTC) + timedelta(seconds=fault.skew)
        paths = meta_data(view, now.strftime(TIME))
        paths[IDENTITY] = ""
        if view.role and time.monotonic() >= fault.credentials_404_until:
            paths[f"iam/security-credentials/{view.role}"] = ""
        if below.rstrip("/") == "public-keys" and view.key_name:
            return f"0={view.key_name}".encode()
        if below == IDENTITY or (below.startswith("iam/security-credentials/") and below in paths):
            return self._credentials_document(view, role_id, below, fault.skew).encode()
        return _at(paths, below)

    def _credentials_document(self, view: InstanceView, role_id: str, path: str, skew: float) -> str:
        with self._lock:
            made = self._credentials.get((view.id, path))
            if made is None or made.expires - RENEW_BEFORE <= datetime.now(UTC):
                if path == IDENTITY:
                    made = self._keyring.issue_identity(view.id, self._lifetime)
                else:
                    made = self._keyring.issue_role(view.role, role_id, view.id, self._lifetime)
                self._credentials[(view.id, path)] = made
        document = {
            "Code": "Success",
            "LastUpdated": (made.issued + timedelta(seconds=skew)).strftime(TIME),
            "Type": "AWS-HMAC",
            "AccessKeyId": made.access_key,
            "SecretAccessKey": made.secret,
            "Token": made.token,
            "Expiration": (made.expires + timedelta(seconds=skew)).strftime(TIME),
        }
        return json.dumps(document, indent=2)


def _at(paths: dict[str, str], path: str) -> bytes | None:
    found = paths.get(path)
    if found is None:
        found = listing(paths, path.rstrip("/"))
    return None if found is None else found.encode()


class ImdsServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], metadata: Metadata) -> None:
        self.metadata = metadata
        super().__init__(address, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """An absent IMDS does not get as far as HTTP."""
        found = self.metadata.find(client_address[0])
        if found is None or self.metadata.faults.imds(found[0].id).absent != "reset":
            return True
        # Lingering for zero seconds makes close() send RST, which is what a closed port answers too.
        request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10.0
    server: ImdsServer

    def do_GET(self) -> None:
        found = self._instance()
        if found:
            self._get(*found)

    def do_PUT(self) -> None:
        found = self._instance()
        if found:
            self._put(found[0])

    def _get(self, view: InstanceView, role_id: str, fault: ImdsFault) -> None:
        token = self.headers.get(TOKEN_HEADER)
        if token is None and view.tokens_required:
            return self._refuse(401)
        if token is not None and not self.server.metadata.accepts(view.id, token):
            return self._refuse(401)
        body = self.server.metadata.content(view, role_id, self.path.partition("?")[0].lstrip("/"), fault)
        return self._refuse(404) if body is None else self._send(200, body, "text/plain")

    def _put(self, view: InstanceView) -> None:
        if self.path != TOKEN_PATH:
            return self._refuse(405)
        if "X-Forwarded-For" in self.headers:
            return self._refuse(403)  # IMDSv2's answer to open reverse proxies
        ttl = self.headers.get(TTL_HEADER, "")
        if not (ttl.isascii() and ttl.isdecimal() and 1 <= int(ttl) <= MAX_TTL):
            return self._refuse(400)
        # The hop limit is the TTL of the packets that carry the token: one router further on they die.
        self.connection.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, view.hop_limit)
        return self._send(200, self.server.metadata.token(view.id, int(ttl)).encode(), "text/plain", ttl=ttl)

    def _instance(self) -> tuple[InstanceView, str, ImdsFault] | None:
        """None when the request is dealt with already."""
        found = self.server.metadata.find(self.client_address[0])
        if found is None:
            self._refuse(403)
            return None
        view, role_id = found
        fault = self.server.metadata.faults.imds(view.id)
        while fault.absent == "hang":
            time.sleep(0.1)
            fault = self.server.metadata.faults.imds(view.id)
        if fault.late:
            time.sleep(fault.late)
        if not view.endpoint_enabled:
            self._refuse(403)
            return None
        return view, role_id, fault

    def _refuse(self, status: int) -> None:
        self._send(status, PAGE.format(status, REASONS[status]).encode(), "text/html")

    def _send(self, status: int, body: bytes, content_type: str, ttl: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        if ttl:
            self.send_header(TTL_HEADER, ttl)
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "EC2ws"

    def date_time_string(self, timestamp: float | None = None) -> str:
        found = self.server.metadata.find(self.client_address[0])
        skew = self.server.metadata.faults.imds(found[0].id).skew if found else 0.0
        return format_datetime(datetime.now(UTC) + timedelta(seconds=skew), usegmt=True)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        LOG.info("%s %s", self.client_address[0], format % args)
