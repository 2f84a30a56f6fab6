"""A store under a directory: for air-gapped sites (serve it, or copy it into a bucket) and for tests."""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from coordinator.durable import replace_file, sync_directory
from coordinator.store import MAX_OBJECT_BYTES, Conflict, Listed, Progress, Stored, no_progress
from units.errors import Fatal, Invalid

CHUNK = 1024 * 1024
HIDDEN = "."  # prefix of temporaries and the lock: never listed, never a valid key


class DirectoryStore:
    """One file per object. The conditional writes hold among processes of one machine (flock on `.lock`)."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def url(self) -> str:
        return f"file://{self._root}"

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> Stored | None:
        try:
            with self._path(key).open("rb") as file:
                body = file.read(limit + 1)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except OSError as error:
            raise _unusable(self._path(key), error) from error
        if len(body) > limit:
            raise Fatal("object-too-large", f"{self.url}/{key}: more than {limit} bytes, which is the most allowed")
        return Stored(body, _etag(body))

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        path = self._path(key)
        with self._locked():
            self._check(key, if_none_match=if_none_match, if_match=if_match)
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                replace_file(path, body, mode=0o644)
            except OSError as error:
                raise _unusable(path, error) from error
        return _etag(body)

    def put_file(self, key: str, path: Path, *, sha256: str, progress: Progress = no_progress) -> None:
        target = self._path(key)
        temporary = target.with_name(f"{HIDDEN}{target.name}.{os.getpid()}")
        digest = hashlib.sha256()
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with path.open("rb") as source, temporary.open("wb") as copy:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    copy.write(chunk)
                    progress(len(chunk))
                copy.flush()
                os.fsync(copy.fileno())
            if digest.hexdigest() != sha256:
                raise Fatal("asset-changed", f"{path}: changed while it was read; expected sha256 {sha256}")
            temporary.rename(target)
            sync_directory(target.parent)
        except OSError as error:
            raise _unusable(target, error) from error
        finally:
            temporary.unlink(missing_ok=True)

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._locked():
            try:
                path.unlink(missing_ok=True)
                if path.parent.is_dir():
                    sync_directory(path.parent)
            except OSError as error:
                raise _unusable(path, error) from error

    def size(self, key: str) -> int | None:
        path = self._path(key)
        return path.stat().st_size if path.is_file() else None

    def list(self, prefix: str) -> Iterator[Listed]:
        # The deepest directory that the prefix names whole, so that listing `status/` walks nothing else.
        start = self._root / prefix.rpartition("/")[0]
        found = sorted(
            (path.relative_to(self._root).as_posix(), path)
            for path in start.rglob("*")
            if not path.name.startswith(HIDDEN) and path.is_file()
        )
        for key, path in found:
            if key.startswith(prefix):
                state = path.stat()
                yield Listed(key, state.st_size, datetime.fromtimestamp(state.st_mtime, UTC))

    def _check(self, key: str, *, if_none_match: bool, if_match: str | None) -> None:
        if not if_none_match and if_match is None:
            return
        current = self.get(key)
        if if_none_match and current is not None:
            raise Conflict(f"{self.url}/{key}", "exists already")
        if if_match is not None and (current is None or current.etag != if_match):
            raise Conflict(f"{self.url}/{key}", "was changed by somebody else since it was read")

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if any(part in {"", "..", "."} or part.startswith(HIDDEN) or "\0" in part for part in parts):
            raise Invalid("store-key-invalid", f"{key!r} is not a store key")
        return self._root.joinpath(*parts)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._root / f"{HIDDEN}lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _unusable(self._root, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _etag(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _unusable(path: Path, error: OSError) -> Fatal:
    return Fatal(
        "store-unusable",
        f"{path}: {error.strerror or error}",
        remedy="check that the directory exists, is yours and has space",
    )
