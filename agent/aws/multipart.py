"""A file that S3 does not take in one request: begun, sent part by part, completed; given up if anything fails.

S3 checks the sha256 of each part and keeps a digest of those digests, which is not that of the file. So the file is
summed up once more as it is sent, and the upload is completed only if it was what was promised.
docs.aws.amazon.com: "Uploading and copying objects using multipart upload", "Checking object integrity".
"""

import base64
import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from html import escape, unescape
from typing import BinaryIO, TypeVar
from urllib.parse import quote

from agent.aws import s3_errors
from agent.aws.http import Response, Timeouts
from agent.aws.s3_requests import MAX_ERROR, Request, Requester, nothing
from units.errors import BootwrightError, Fatal

Result = TypeVar("Result")
LOG = logging.getLogger("bootwright.s3")
MOST_PARTS = 10_000  # so S3
_MIB = 1024 * 1024
_UPLOAD_ID = re.compile(rb"<UploadId>([^<]{1,2000})</UploadId>")
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_PUTTING_TOGETHER = 300.0  # seconds: "could take several minutes" (API reference, CompleteMultipartUpload)
_GIVING_UP = 15.0  # seconds of retries


@dataclass(frozen=True, slots=True)
class Target:
    """`url` makes the object's URL with a query; `stored` asks S3 for what it keeps as the object's sha256, or ""."""

    key: str
    url: Callable[[str], str]
    stored: Callable[[], str]
    requests: Requester


@dataclass(frozen=True, slots=True)
class Pace:
    """`limit`: seconds of retries for one request. `slowest`: bytes per second that S3 must at least take."""

    timeouts: Timeouts
    limit: float
    slowest: int


@dataclass(frozen=True, slots=True)
class _Part:
    number: int  # from 1
    window: "Window"
    digest: bytes  # sha256

    @property
    def checksum(self) -> str:
        return base64.b64encode(self.digest).decode()


def size_of_parts(size: int, least: int) -> int:
    """`least`, or for more than 10 000 of those the smallest number of whole MiB that suffices."""
    needed = -(-size // MOST_PARTS)
    return least if needed <= least else -(-needed // _MIB) * _MIB


class Upload:
    """Of a file of `size` bytes. To be sent once."""

    def __init__(self, target: Target, file: BinaryIO, size: int, pace: Pace) -> None:
        self._target = target
        self._file = file
        self._size = size
        self._pace = pace
        self._clock = target.requests.waits.monotonic
        self._end = 0.0
        self._id = ""

    def send(self, *, sha256: str, least: int) -> str:
        """What S3 then keeps as the object's sha256: that of the parts' digests, in hex.

        Fatal `s3-file-changed` for a file that is not what `sha256` (hex) promises. Whatever is raised, S3 was told to
        forget the parts; only a power cut, or a network that is gone for good, leaves them to the bucket's lifecycle.
        """
        self._end = self._clock() + self._pace.limit + self._size / self._pace.slowest
        self._id = self._begin()
        with ExitStack() as undo:
            undo.callback(self._give_up)
            whole = hashlib.sha256()
            sent = [(part, self._send(part)) for part in self._parts(size_of_parts(self._size, least), whole.update)]
            if whole.hexdigest() != sha256:
                raise _changed(self._target.key, f"sha256 {whole.hexdigest()}, and not {sha256}")
            expected = hashlib.sha256(b"".join(part.digest for part, _etag in sent)).hexdigest()
            try:
                self._complete(sent)
            except s3_errors.NoSuchUpload:  # completed by a request whose answer was lost? or gone
                if self._target.stored() != expected:
                    raise
            undo.pop_all()
        return expected

    def _parts(self, size: int, tell: Callable[[bytes], None]) -> Iterator[_Part]:
        """Each is summed up only when its turn has come: it is sent from the kernel's cache then."""
        for number, begin in enumerate(range(0, self._size, size), start=1):
            window = Window(self._file, begin, min(size, self._size - begin))
            digest = hashlib.sha256()
            while chunk := window.read(_MIB):
                digest.update(chunk)
                tell(chunk)
            if not window.read_through:
                raise _changed(self._target.key, f"fewer than {self._size} bytes")
            yield _Part(number, window, digest.digest())

    def _begin(self) -> str:
        headers = {"x-amz-checksum-algorithm": "SHA256", "x-amz-checksum-type": "COMPOSITE"}

        def read(response: Response, asked: s3_errors.Asked) -> str:
            found = _UPLOAD_ID.search(response.body(limit=MAX_ERROR))
            if found is None:
                raise s3_errors.no_s3(asked, "it begins an upload without an id")
            return unescape(found[1].decode())

        url = self._target.url("uploads")
        return self._call(Request("POST", self._target.key, url, read, self._pace.timeouts, headers))

    def _send(self, part: _Part) -> str:
        """Its ETag."""
        headers = {
            "Content-Length": str(part.window.size),
            "x-amz-checksum-sha256": part.checksum,
            "x-amz-sdk-checksum-algorithm": "SHA256",
        }

        def read(response: Response, asked: s3_errors.Asked) -> str:
            nothing(response, asked)
            etag = response.headers.get("etag", "")
            if not etag:
                raise s3_errors.no_s3(asked, "it takes a part and gives no ETag")
            return etag

        timeouts = self._pace.timeouts
        patience = timeouts.read + part.window.size / self._pace.slowest
        limits = Timeouts(timeouts.connect, patience, timeouts.total + patience)
        url = self._target.url(f"partNumber={part.number}&{self._query}")
        return self._call(Request("PUT", self._target.key, url, read, limits, headers, part.window, part.digest.hex()))

    def _complete(self, sent: Sequence[tuple[_Part, str]]) -> None:
        parts = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{escape(etag)}</ETag>"
            f"<ChecksumSHA256>{part.checksum}</ChecksumSHA256></Part>"
            for part, etag in sent
        )
        body = f'<CompleteMultipartUpload xmlns="{_NAMESPACE}">{parts}</CompleteMultipartUpload>'.encode()
        headers = {"x-amz-checksum-type": "COMPOSITE", "x-amz-mp-object-size": str(self._size)}

        def read(response: Response, asked: s3_errors.Asked) -> None:
            """S3 says 200 before it knows, then sends blanks, and at last the result, or an error."""
            answer = response.body(limit=MAX_ERROR)
            if b"<CompleteMultipartUploadResult" not in answer:
                raise s3_errors.explain(asked, response.status, response.headers, answer)

        limits = Timeouts(self._pace.timeouts.connect, _PUTTING_TOGETHER, _PUTTING_TOGETHER)
        url = self._target.url(self._query)
        self._call(Request("POST", self._target.key, url, read, limits, headers, body))

    def _give_up(self) -> None:
        url, key = self._target.url(self._query), self._target.key
        request = Request("DELETE", key, url, nothing, self._pace.timeouts, verb="ABORT")
        try:
            self._target.requests.call(request, limit=min(self._pace.limit, _GIVING_UP))
        except s3_errors.NoSuchUpload:
            return
        except BootwrightError as error:  # what made us give up is what the caller must hear
            LOG.warning("parts of %s remain in S3, until the bucket's lifecycle ends them: %s", key, error)

    @property
    def _query(self) -> str:
        return f"uploadId={quote(self._id, safe='-_.~')}"

    def _call(self, request: Request[Result]) -> Result:
        left = self._end - self._clock()
        if left <= 0:
            raise s3_errors.too_slow(self._target.key, self._size, self._pace.slowest)
        total = min(request.timeouts.total, left)
        limits = Timeouts(request.timeouts.connect, request.timeouts.read, total)
        return self._target.requests.call(replace(request, timeouts=limits), limit=min(self._pace.limit, left))


class Window:
    """At most `size` bytes of a file from `begin` on; as a body, it may be sent more than once."""

    def __init__(self, file: BinaryIO, begin: int, size: int) -> None:
        self.size = size
        self._file = file
        self._begin = begin
        self._at = 0

    @property
    def read_through(self) -> bool:
        return self._at == self.size

    def seek(self, offset: int, /) -> int:
        self._at = offset
        return offset

    def read(self, size: int = -1, /) -> bytes:
        self._file.seek(self._begin + self._at)  # the parts of a file share its position
        left = self.size - self._at
        chunk = self._file.read(left if size < 0 else min(size, left))
        self._at += len(chunk)
        return chunk


def _changed(key: str, found: str) -> Fatal:
    return Fatal(
        "s3-file-changed",
        f"the file for {key} has {found} as it is sent: it is not stored",
        remedy="try again; if it happens again, look at the disk (`dmesg`)",
    )
