"""Whole writes: after a power cut a file holds all of the old bytes or all of the new (DESIGN section 1, rule 4)."""

import contextlib
import os
import secrets
from pathlib import Path

TEMPORARY_PREFIX = ".bootwright-"


def write_durably(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Hidden temporary beside it, created with its mode, fsync, rename, fsync directory. OSError as it comes."""
    temporary = path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # the umask took bits from the mode above
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """A rename is on the disk only when its directory is."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep_temporaries(directory: Path) -> None:
    """Remove what a power cut left half written; call only while nobody else writes there."""
    for stray in directory.glob(f"{TEMPORARY_PREFIX}*"):
        stray.unlink(missing_ok=True)


def read_bounded(path: Path, *, limit: int) -> bytes | None:
    """The content, at most `limit` + 1 bytes of it, so that a caller sees that it is too long; None without a file."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError:
        return None
