"""A stand-in for S3 on loopback: a folder's objects, and the status objects of a fleet.

Not moto: its 4 ms a request would be what is measured. It knows GET, PUT with conditions, and ListObjectsV2.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from coordinator.directory_store import DirectoryStore
from coordinator.store import Conflict
from units.status import NodeStatus, encode_status

PAGE = 1000
STATUS = "status/"


class FleetOfStatusesDouble:
    """So many nodes; every status is a whole one, differing in names and zones."""

    def __init__(self, nodes: int, sample: NodeStatus) -> None:
        self.ids = [f"i-{number:017x}" for number in range(nodes)]
        self._sample = sample

    def body(self, instance_id: str) -> bytes:
        number = int(instance_id.removeprefix("i-"), 16)
        zone = f"eu-west-1{'abc'[number % 3]}"
        return encode_status(self._sample.model_copy(update={"instance_id": instance_id, "zone": zone}))


class S3Double:
    """One bucket, served from `folder`; keys under CLUSTER/status/ come from `fleet`."""

    def __init__(self, folder: Path, cluster: str, fleet: FleetOfStatusesDouble) -> None:
        self.requests: Counter[str] = Counter()
        self._prefix = f"{cluster}/"
        self._store, self._fleet = DirectoryStore(folder / cluster), fleet
        self._bodies = {one: fleet.body(one) for one in fleet.ids}  # before anything is measured
        double = self

        class Handler(_Handler):
            s3 = double

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def get(self, key: str) -> tuple[bytes, str] | None:
        own = key.removeprefix(self._prefix)
        if own.startswith(STATUS):
            body = self._bodies.get(own.removeprefix(STATUS).removesuffix(".json"))
            return None if body is None else (body, "status")
        stored = self._store.get(own)
        return None if stored is None else (stored.body, stored.etag)

    def put(self, key: str, body: bytes, *, new: bool, etag: str | None) -> str:
        return self._store.put(key.removeprefix(self._prefix), body, if_none_match=new, if_match=etag)

    def page(self, prefix: str, after: str) -> str:
        own, now = prefix.removeprefix(self._prefix), f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.000Z}"
        if own.startswith(STATUS):
            found = [(f"{STATUS}{one}.json", len(self._bodies[one])) for one in self._fleet.ids]
        else:
            found = [(item.key, item.size) for item in self._store.list(own)]
        rest = [(key, size) for key, size in found if key > after]
        contents = "".join(
            f"<Contents><Key>{escape(self._prefix + key)}</Key><Size>{size}</Size>"
            f'<LastModified>{now}</LastModified><ETag>"x"</ETag></Contents>'
            for key, size in rest[:PAGE]
        )
        more = len(rest) > PAGE
        token = f"<NextContinuationToken>{escape(rest[PAGE - 1][0])}</NextContinuationToken>" if more else ""
        return (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}</ListBucketResult>"
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    s3: S3Double

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        query, key = parse_qs(address.query), unquote(address.path).split("/", 2)[2:]
        if "list-type" in query:
            self.s3.requests["s3 LIST"] += 1
            page = self.s3.page(query.get("prefix", [""])[0], query.get("continuation-token", [""])[0])
            self._answer(200, page.encode())
            return
        self.s3.requests["s3 GET"] += 1
        found = self.s3.get(key[0]) if key else None
        if found is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        else:
            self._answer(200, found[0], found[1])

    def do_PUT(self) -> None:
        self.s3.requests["s3 PUT"] += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = unquote(urlsplit(self.path).path).split("/", 2)[2]
        etag = self.headers.get("If-Match")
        try:
            stored = self.s3.put(key, body, new="If-None-Match" in self.headers, etag=etag and etag.strip('"'))
        except Conflict:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        else:
            self._answer(200, b"", stored)

    def do_POST(self) -> None:
        """EC2 is asked who is gone; here it may not be, and then nobody is."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.s3.requests["ec2"] += 1
        error = "<Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error>"
        self._answer(403, f"<Response><Errors>{error}</Errors><RequestID>1</RequestID></Response>".encode())

    def _answer(self, status: int, body: bytes, etag: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", self.date_time_string())
        if etag:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the library's name
        pass


@contextmanager
def running_s3(folder: Path, cluster: str, fleet: FleetOfStatusesDouble) -> Iterator[S3Double]:
    double = S3Double(folder, cluster, fleet)
    try:
        yield double
    finally:
        double.close()
