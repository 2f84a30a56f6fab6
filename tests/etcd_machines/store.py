"""A double of S3: a folder, with compare-and-swap under a lock. Shared by every machine of a test.

What `coordinator` needs of it, `coordinator.directory_store` reads from the same folder.
"""

import fcntl
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, BinaryIO

from agent.aws.s3 import Head, Object, PartSizes
from agent.aws.s3_errors import NoSuchKey, PreconditionFailed
from agent.aws.s3_listing import Listed
from units.errors import Retryable

PREFIX = "prod.example.com/"  # of the cluster, as `agent.settings` makes it


class BucketDouble:
    """The methods of `agent.aws.s3.S3` that nodes use. A file `down` cuts it off: it says how long each call hangs."""

    def __init__(self, shared: Path) -> None:
        self._shared = shared
        self.objects = shared / "objects"
        self.objects.mkdir(parents=True, exist_ok=True)

    def get(self, key: str, *, max_bytes: int, if_none_match: str | None = None) -> Object:
        with self._locked():
            found = self.read(key)
        if found is None:
            raise NoSuchKey("s3-no-such-key", key)
        same = if_none_match == _etag(found)
        return Object(None if same else found[:max_bytes], _etag(found))

    def put(self, key: str, body: bytes, *, if_match: str | None = None, if_none_match: str | None = None) -> str:
        with self._locked():
            found = self.read(key)
            if (if_none_match and found is not None) or (if_match and (found is None or _etag(found) != if_match)):
                raise PreconditionFailed("s3-precondition-failed", key)
            self._write(key, body)
        return _etag(body)

    def put_file(self, key: str, file: BinaryIO, *, size: int, sha256: str, parts: PartSizes) -> str:
        body = file.read()
        assert (len(body), hashlib.sha256(body).hexdigest()) == (size, sha256)
        assert size <= parts.above
        self.put(key, body)
        return sha256

    def head(self, key: str) -> Head:
        found = self.get(key, max_bytes=2**40).body or b""
        return Head(len(found), hashlib.sha256(found).hexdigest())

    def get_to_file(self, key: str, file: IO[bytes], *, size: int) -> str:
        body = self.get(key, max_bytes=size).body or b""
        file.write(body)
        return hashlib.sha256(body).hexdigest()

    def list(self, prefix: str, *, most: int) -> tuple[Listed, ...]:
        with self._locked():
            paths = [path for path in self.objects.rglob("[!.]*") if path.is_file()]
        found = sorted((path.relative_to(self.objects).as_posix(), path.stat()) for path in paths)
        listed = (Listed(k, s.st_size, datetime.fromtimestamp(s.st_mtime, UTC)) for k, s in found)
        return tuple(one for one in listed if one.key.startswith(prefix))[:most]

    def delete(self, key: str) -> None:
        with self._locked():
            (self.objects / key).unlink(missing_ok=True)

    def read(self, key: str) -> bytes | None:
        """As whoever stands outside sees it, also while it is down."""
        path = self.objects / key
        return path.read_bytes() if path.is_file() else None

    def down(self, *, hangs: float = 0.0) -> None:
        (self._shared / "down").write_text(f"{hangs}")

    def up(self) -> None:
        (self._shared / "down").unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        down = self._shared / "down"
        if down.exists():
            time.sleep(float(down.read_text() or 0))
            raise Retryable("s3-unreachable", "the store does not answer")
        with (self._shared / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, key: str, content: bytes) -> None:
        path = self.objects / key
        path.parent.mkdir(parents=True, exist_ok=True)
        rough = path.with_name(f".{path.name}.rough")
        rough.write_bytes(content)
        rough.rename(path)


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
