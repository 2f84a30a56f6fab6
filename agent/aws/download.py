"""A large object into a file, over as many connections as it takes: what has come stays, the rest is asked for.

An asset is 100 MB, and a connection that is cut at its end is common where NAT gateways and proxies stand in between.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from agent.aws import s3_errors
from agent.aws.http import Response, TooLarge

_CHUNK = 1024 * 1024


class Download:
    """`file` is seekable, readable and holds the beginning of the object, or nothing; `size` is all of it."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self._etag = ""
        self._digest = hashlib.sha256()
        self._done = 0
        self._take_over()

    @property
    def complete(self) -> bool:
        return self._done == self._size

    @property
    def digest(self) -> str:
        """Hex sha256 of what is in the file."""
        return self._digest.hexdigest()

    def headers(self) -> dict[str, str]:
        """Of the next request. The rest of another object would be refused by S3 itself: `If-Match`."""
        if not self._done:
            return {}
        return {"Range": f"bytes={self._done}-"} | ({"If-Match": self._etag} if self._etag else {})

    def read(self, response: Response, asked: s3_errors.Asked) -> str:
        """The rest of the object into the file; the sha256 of all of it."""
        if response.status != 206 or not response.headers.get("content-range", "").startswith(f"bytes {self._done}-"):
            self.restart()
        self._etag = response.headers.get("etag", "")
        with _within(asked, self._size):
            for chunk in response.chunks(limit=self._size - self._done):
                self._file.write(chunk)
                self._digest.update(chunk)
                self._done += len(chunk)
        if not self.complete:
            raise s3_errors.wrong_size(asked, found=self._done, expected=self._size)
        return self.digest

    def restart(self) -> None:
        """The object is another one than before: nothing of that is kept."""
        self._file.seek(0)
        self._file.truncate()
        self._digest, self._done, self._etag = hashlib.sha256(), 0, ""

    def _take_over(self) -> None:
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK):
            self._digest.update(chunk)
            self._done += len(chunk)
        if self._done > self._size:
            self.restart()


@contextmanager
def _within(asked: s3_errors.Asked, size: int) -> Iterator[None]:
    try:
        yield
    except TooLarge as error:
        raise s3_errors.too_long(asked, size) from error
