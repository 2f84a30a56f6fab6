"""Files on the machine, or below a sandbox root that stands in for it."""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from agent.linux.atomic import Ids, explained, is_temporary, opened_directory, replace_symlink, replacing, sweep
from agent.linux.owners import Owners, RealOwners, RecordedOwners
from agent.linux.sandbox import Sandbox
from units.errors import Fatal
from units.host import FileState

READ_LIMIT = 16 * 1024 * 1024  # the largest thing compared by content is a manifest, 1 MB
_COPY = 1024 * 1024


class LinuxFiles:
    """Implements `units.host.Files`.

    `root` other than "/" is a sandbox: paths and symlinks are resolved inside it, as chroot would. With `own=False`
    (a sandbox without privileges) nothing is chowned; the wanted owner is recorded beside the sandbox's root and
    reported back, so that a second run finds what the first one asked for.

    A regular file over 16 MiB is reported without content: it differs from anything that is compared by content.
    """

    def __init__(self, root: str | Path = "/", *, own: bool = True) -> None:
        self._sandbox = Sandbox(root)
        self._owners: Owners = RealOwners() if own else RecordedOwners(self._sandbox.root)

    def read(self, path: str) -> FileState | None:
        real = self._sandbox.resolve(path)
        with explained("read", path):
            try:
                found = real.lstat()
                kind = _kind(found.st_mode)
                content = _content(real) if kind == "file" and found.st_size <= READ_LIMIT else None
                target = str(real.readlink()) if kind == "symlink" else None
            except (FileNotFoundError, NotADirectoryError):
                return None
        owner, group = self._owners.names(path, found)
        return FileState(kind, stat.S_IMODE(found.st_mode), owner, group, content, target)

    def digest(self, path: str) -> str | None:
        real = self._sandbox.resolve(path)
        with explained("read", path):
            try:
                if _kind(real.lstat().st_mode) != "file":
                    return None
                with real.open("rb", buffering=0) as file:
                    return hashlib.file_digest(file, "sha256").hexdigest()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, path: str, content: bytes, *, mode: int, owner: str, group: str) -> None:
        """Missing directories above it are made (0755 root root)."""
        ids = self._owners.claim(path, owner, group)
        with self._placing(path, size=len(content)) as real, replacing(real, mode=mode, ids=ids) as file:
            file.write(content)

    def set_attributes(self, path: str, *, mode: int, owner: str, group: str) -> None:
        """Fatal for a symlink: it has no mode of its own."""
        ids = self._owners.claim(path, owner, group)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with explained("set the attributes of", path):
            descriptor = os.open(self._sandbox.resolve(path), flags)
            try:
                _set_attributes(descriptor, mode, ids)
            finally:
                os.close(descriptor)

    def make_directory(self, path: str, *, mode: int, owner: str, group: str) -> None:
        ids = self._owners.claim(path, owner, group)
        with self._placing(path) as real:
            if _make_if_absent(real) or stat.S_ISDIR(real.lstat().st_mode):
                with opened_directory(real) as descriptor:
                    _set_attributes(descriptor, mode, ids)
                return
        raise Fatal(
            "path-not-a-directory",
            f"{path} should be a directory, but something else lies there",
            remedy=f"look at it (`ls -ld {path}`) and move it away",
        )

    def symlink(self, path: str, target: str) -> None:
        with self._placing(path) as real:
            replace_symlink(real, target)

    def install(self, source: str, path: str, *, mode: int) -> None:
        ids = self._owners.claim(path, "root", "root")
        with explained("read", source):
            origin = self._sandbox.resolve(source).open("rb", buffering=0)
        size = os.fstat(origin.fileno()).st_size
        with origin, self._placing(path, size=size) as real, replacing(real, mode=mode, ids=ids) as file:
            shutil.copyfileobj(origin, file, _COPY)

    def remove(self, path: str) -> None:
        real = self._sandbox.resolve(path)
        gone = suppress(FileNotFoundError, NotADirectoryError)
        with explained("remove", path), gone, opened_directory(real.parent) as parent:
            sweep(parent, real.name)
            os.unlink(real.name, dir_fd=parent)
            os.fsync(parent)

    def sweep(self, path: str) -> None:
        gone = suppress(FileNotFoundError, NotADirectoryError)
        with explained("sweep", path), gone, opened_directory(self._sandbox.resolve(path)) as directory:
            sweep(directory)

    def list(self, path: str) -> Sequence[str]:
        """Without the hidden temporaries of an interrupted write: they are nobody's file."""
        real = self._sandbox.resolve(path)
        with explained("list", path):
            try:
                return sorted(entry.name for entry in real.iterdir() if not is_temporary(entry.name))
            except (FileNotFoundError, NotADirectoryError):
                return []

    @contextmanager
    def _placing(self, path: str, *, size: int | None = None) -> Iterator[Path]:
        """The real path, its directory present, and every OSError inside explained."""
        real = self._sandbox.resolve(path)
        with explained("write", path, size=size):
            _make_parents(real)
            yield real


def _kind(mode: int) -> Literal["file", "directory", "symlink", "other"]:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "other"


def _content(real: Path) -> bytes:
    descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        return file.readall()


def _set_attributes(descriptor: int, mode: int, ids: Ids | None) -> None:
    if ids is not None:
        os.fchown(descriptor, *ids)
    os.fchmod(descriptor, mode)  # after chown, which drops set-uid bits
    os.fsync(descriptor)


def _make_parents(real: Path) -> None:
    missing = []
    directory = real.parent
    while not directory.exists() and not directory.is_symlink():
        missing.append(directory)
        directory = directory.parent
    for directory in reversed(missing):
        _make_if_absent(directory)


def _make_if_absent(real: Path) -> bool:
    """Durable at once, and 0755 whatever the umask of the person who started us.

    It is made with that mode: one that the power cut off before its chmod would stay closed, since nobody asks again
    for a directory that is there. (systemd's umask takes nothing of it away.)
    """
    with opened_directory(real.parent) as parent:
        try:
            os.mkdir(real.name, 0o755, dir_fd=parent)
        except FileExistsError:
            return False
        os.chmod(real.name, 0o755, dir_fd=parent)  # noqa: S103 (a directory that others must traverse)
        os.fsync(parent)
    return True
