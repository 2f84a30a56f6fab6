"""The operator's directory for one cluster, ~/.config/bootwright/CLUSTER: keys, trusted root, newest state seen."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coordinator.durable import replace_file
from units.errors import Fatal, Refused

MAX_FILE_BYTES = 1024 * 1024


def default_key_directory(cluster: str) -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "bootwright" / cluster


class KeyDirectory:
    """Mode 0700, every file 0600 and written whole. Private keys in it are always under a passphrase."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def prepare(self) -> None:
        """Make it, or refuse one that others may read."""
        with self._explained():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = stat.S_IMODE(self.path.stat().st_mode)
        if mode & 0o077:
            raise Refused(
                "key-directory-open",
                f"{self.path}: mode {mode:04o} lets other users in; 0700 is needed",
                remedy=f"chmod 700 {self.path}",
            )

    def read(self, name: str) -> bytes | None:
        with self._explained():
            try:
                with (self.path / name).open("rb") as file:
                    content = file.read(MAX_FILE_BYTES + 1)
            except FileNotFoundError:
                return None
        if len(content) > MAX_FILE_BYTES:
            raise Fatal("key-file-large", f"{self.path / name}: more than {MAX_FILE_BYTES} bytes")
        return content

    def write(self, name: str, content: bytes) -> None:
        with self._explained():
            replace_file(self.path / name, content, mode=0o600)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time makes keys here; another one fails at once."""
        with self._explained():
            lock = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Fatal("key-directory-busy", f"{self.path}: another coordinator is using it") from error
            yield
        finally:
            os.close(lock)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Fatal(
                "key-directory-unusable",
                f"{error.filename or self.path}: {error.strerror}",
                remedy="check the directory's owner and space, or name another one with --keys",
            ) from error
