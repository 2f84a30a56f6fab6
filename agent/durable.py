"""The agent's own small state files: whole writes (agent.linux.atomic), bounded reads."""

import os
from pathlib import Path

from agent.linux.atomic import opened_directory, replacing


def write_durably(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """After a power cut the file holds all of the old bytes or all of the new. OSError as it comes."""
    with replacing(path, mode=mode, ids=None) as file:
        file.write(content)


def keep_durably(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """The same, but a file that holds just that is left alone: nobody waits for the disk."""
    if read_bounded(path, limit=len(content)) != content:
        write_durably(path, content, mode=mode)


def sync_directory(path: Path) -> None:
    """A rename is on the disk only when its directory is."""
    with opened_directory(path) as descriptor:
        os.fsync(descriptor)


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_bounded(path: Path, *, limit: int) -> bytes | None:
    """The content, at most `limit` + 1 bytes of it, so that a caller sees that it is too long; None without a file."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError:
        return None
