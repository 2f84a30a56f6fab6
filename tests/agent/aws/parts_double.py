"""A double of S3 for one object in parts: as strict as S3 says it is where moto is not, and it fails when told to.

It refuses a part whose bytes are not those of its checksum and of its signature, small parts, parts out of order, a
completion with other ETags, checksums or size. Parts lie in files, so that gigabytes take no memory here either.
"""

import base64
import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.agent.conftest import QuietServer

_CHUNK = 1024 * 1024
_PART = re.compile(
    r"<Part><PartNumber>(\d+)</PartNumber><ETag>&quot;([^<]+)&quot;</ETag><ChecksumSHA256>([^<]+)</ChecksumSHA256></Part>"
)


@dataclass(frozen=True)
class Part:
    path: Path
    size: int
    digest: bytes

    @property
    def etag(self) -> str:
        return self.digest.hex()[:32]

    @property
    def checksum(self) -> str:
        return base64.b64encode(self.digest).decode()


@dataclass(eq=False)
class Refusal(Exception):
    status: int
    code: str

    @property
    def body(self) -> bytes:
        return f"<Error><Code>{self.code}</Code><Message>words</Message></Error>".encode()


@dataclass
class Fault:
    """`refusal` instead of what was asked; or, without one, it is done and the connection cut before the answer."""

    what: str
    times: int = 1
    refusal: Refusal | None = None


@dataclass
class Stored:
    parts: list[Part]
    checksum: str
    etag: str = '"of-parts"'

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    def read(self, begin: int) -> Iterator[bytes]:
        for part in self.parts:
            if begin < part.size:
                with part.path.open("rb") as file:
                    file.seek(begin)
                    while chunk := file.read(_CHUNK):
                        yield chunk
            begin = max(begin - part.size, 0)


@dataclass
class PartsS3Double:
    """`asked` lists what came in: begin, part N, complete, abort, head, get."""

    folder: Path
    smallest: int = 5 * 1024**2
    asked: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    uploads: dict[str, dict[int, Part]] = field(default_factory=dict)
    objects: dict[str, Stored] = field(default_factory=dict)
    begun: list[dict[str, str]] = field(default_factory=list)  # headers of each begin
    cut_after: int | None = None  # the next get ends after so many bytes

    def __post_init__(self) -> None:
        self._server = QuietServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"double": self}))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fault(self, what: str) -> Fault | None:
        for fault in self.faults:
            if fault.what == what and fault.times:
                fault.times -= 1
                return fault
        return None

    def begin(self, headers: dict[str, str]) -> bytes:
        wanted = {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "COMPOSITE"}
        if any(headers.get(name) != value for name, value in wanted.items()):
            raise Refusal(400, "InvalidRequest")
        self.begun.append(headers)
        name = f"up/{len(self.begun)}+&amp;="
        self.uploads[name.replace("&amp;", "&")] = {}
        return f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>".encode()

    def take(self, upload: str, number: int, headers: dict[str, str], chunks: Iterator[bytes]) -> Part:
        digest, size = hashlib.sha256(), 0
        path = self.folder / f"{len(self.asked)}-{number}"
        with path.open("wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                size += file.write(chunk)
        part = Part(path, size, digest.digest())
        if upload not in self.uploads:
            raise Refusal(404, "NoSuchUpload")
        if headers["x-amz-content-sha256"] != digest.hexdigest():
            raise Refusal(400, "XAmzContentSHA256Mismatch")
        if headers["x-amz-checksum-sha256"] != part.checksum:
            raise Refusal(400, "BadDigest")
        self.uploads[upload][number] = part
        return part

    def complete(self, key: str, upload: str, headers: dict[str, str], body: str) -> bytes:
        if upload not in self.uploads:
            raise Refusal(404, "NoSuchUpload")
        held = self.uploads[upload]
        named = [(int(number), etag, checksum) for number, etag, checksum in _PART.findall(body)]
        if [number for number, _etag, _checksum in named] != list(range(1, len(named) + 1)):
            raise Refusal(400, "InvalidPartOrder")
        for number, etag, checksum in named:
            if number not in held or (held[number].etag, held[number].checksum) != (etag, checksum):
                raise Refusal(400, "InvalidPart")
        parts = [held[number] for number, _etag, _checksum in named]
        if any(part.size < self.smallest for part in parts[:-1]):
            raise Refusal(400, "EntityTooSmall")
        if int(headers["x-amz-mp-object-size"]) != sum(part.size for part in parts):
            raise Refusal(400, "InvalidRequest")
        summary = base64.b64encode(hashlib.sha256(b"".join(part.digest for part in parts)).digest()).decode()
        self.objects[key] = Stored(parts, f"{summary}-{len(parts)}")
        del self.uploads[upload]
        return b"<?xml version='1.0'?>\n   \n<CompleteMultipartUploadResult xmlns='x'></CompleteMultipartUploadResult>"

    def abort(self, upload: str) -> None:
        if self.uploads.pop(upload, None) is None:
            raise Refusal(404, "NoSuchUpload")


class _Handler(BaseHTTPRequestHandler):
    double: PartsS3Double
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        key, query = self.target()
        body = b"".join(self.chunks()).decode()
        if "uploads" in query:
            self.answer("begin", lambda: (self.double.begin(self.lower()), {}))
        else:
            upload = query["uploadId"][0]
            self.answer("complete", lambda: (self.double.complete(key, upload, self.lower(), body), {}))

    def do_PUT(self) -> None:
        _key, query = self.target()
        number = int(query["partNumber"][0])

        def take() -> tuple[bytes, dict[str, str]]:
            part = self.double.take(query["uploadId"][0], number, self.lower(), self.chunks())
            return b"", {"ETag": f'"{part.etag}"'}

        self.answer(f"part {number}", take)

    def do_DELETE(self) -> None:
        upload = self.target()[1]["uploadId"][0]
        self.answer("abort", lambda: (self.double.abort(upload) or b"", {}), status=204)

    def do_HEAD(self) -> None:
        self.double.asked.append("head")
        stored = self.double.objects.get(self.target()[0])
        self.send_response(200 if stored else 404)
        if stored:
            self.send_header("Content-Length", str(stored.size))
            self.send_header("x-amz-checksum-sha256", stored.checksum)
        self.end_headers()

    def do_GET(self) -> None:
        begin = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.double.asked.append(f"get {begin}-")
        stored = self.double.objects[self.target()[0]]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(stored.size - begin))
        self.send_header("Content-Range", f"bytes {begin}-{stored.size - 1}/{stored.size}")
        self.send_header("ETag", stored.etag)
        self.end_headers()
        left, self.double.cut_after = self.double.cut_after, None
        for chunk in stored.read(begin):
            self.wfile.write(chunk if left is None else chunk[:left])
            if left is not None and (left := left - len(chunk)) <= 0:
                self.close_connection = True
                return

    def target(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        return parts.path, parse_qs(parts.query, keep_blank_values=True)

    def lower(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def chunks(self) -> Iterator[bytes]:
        left = int(self.headers.get("Content-Length", 0))
        while left and (chunk := self.rfile.read(min(left, _CHUNK))):
            left -= len(chunk)
            yield chunk

    def answer(self, what: str, act: Callable[[], tuple[bytes, dict[str, str]]], *, status: int = 200) -> None:
        self.double.asked.append(what)
        fault = self.double.fault(what)
        try:
            if fault and fault.refusal:
                for _ in self.chunks() if self.command == "PUT" else ():
                    pass
                raise fault.refusal
            body, headers = act()
        except Refusal as refusal:
            status, body, headers = refusal.status, refusal.body, {}
        if fault and not fault.refusal:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
