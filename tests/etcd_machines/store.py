"""A double of the store: a folder, with compare-and-swap under a lock. Shared by every machine of a test."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.aws.s3 import Object
from agent.aws.s3_errors import NoSuchKey
from units.errors import Retryable
from units.host import Record


class FolderStore:
    """Implements `units.host.Records`, and `get` as `agent.aws.s3.S3` has it. A file `down` cuts it off."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "objects").mkdir(parents=True, exist_ok=True)

    def read(self, key: str) -> bytes | None:
        path = self._path(key)
        return path.read_bytes() if path.exists() else None

    def create(self, key: str, content: bytes) -> bool:
        with self._locked():
            return self.read(key) is None and self._write(key, content)

    def replace(self, key: str, content: bytes, etag: str) -> bool:
        with self._locked():
            found = self.read(key)
            return found is not None and _etag(found) == etag and self._write(key, content)

    def down(self) -> None:
        (self._folder / "down").touch()

    def up(self) -> None:
        (self._folder / "down").unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if (self._folder / "down").exists():
            raise Retryable("s3-unreachable", "the store does not answer")
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, key: str, content: bytes) -> bool:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        rough = path.with_suffix(".rough")
        rough.write_bytes(content)
        rough.rename(path)
        return True

    def _path(self, key: str) -> Path:
        return self._folder / "objects" / key


class RecordsDouble(FolderStore):
    def get(self, key: str) -> Record | None:
        with self._locked():
            found = self.read(key)
        return Record(found, _etag(found)) if found is not None else None


class StoreDouble(FolderStore):
    """As a poll reads it."""

    def get(self, key: str, *, max_bytes: int) -> Object:
        with self._locked():
            found = self.read(key)
        if found is None:
            raise NoSuchKey("s3-no-such-key", key)
        return Object(found[:max_bytes], _etag(found))


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
