"""A member's volume, measured, and what `units.etcd_room` decides done to it. With few imports: the poll uses it."""

import errno
import os
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path

from agent.durable import sync_directory, write_durably
from agent.linux.atomic import explained
from units.errors import Fatal
from units.etcd_room import (
    NOTE,
    RESERVE,
    Delete,
    Freed,
    MakeReserve,
    SpendReserve,
    Step,
    VolumeRoom,
    decode_note,
    encode_note,
    name_to_go,
)

_NOTE_BYTES = 64 * 1024
_MARK = "data/member/.generation"


def measure(mount: Path) -> VolumeRoom:
    """Raises OSError, as for a volume that is not there."""
    found = os.statvfs(mount)
    return VolumeRoom(
        total_bytes=found.f_blocks * found.f_frsize,
        free_bytes=found.f_bavail * found.f_frsize,
        reserve_bytes=_allocated(mount / RESERVE),
        names=frozenset(os.listdir(mount)),  # noqa: PTH208 (names only)
        data_generation=_generation(mount / _MARK),
    )


def take(step: Step, mount: Path) -> Freed | None:
    """What was given up by it; None for a reserve that was made. One that finds no room is as if it were not made.

    A cut in the middle leaves less of a directory, or a shorter reserve: the next look goes on from there.
    """
    with explained(str(step), mount):
        match step:
            case MakeReserve():
                _make(mount / RESERVE, step.bytes)
                return None
            case SpendReserve():
                size = _allocated(mount / RESERVE)
                (mount / RESERVE).unlink(missing_ok=True)
                what = "its reserve"
            case Delete():
                size, what = _delete(mount, step.name), step.name
        sync_directory(mount)
    return Freed(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), what, size)


def read_note(mount: Path) -> tuple[Freed, ...]:
    """What the agent gave up on this volume, the newest last; empty if nothing, or nobody can tell."""
    try:
        with (mount / NOTE).open("rb") as file:
            return decode_note(file.read(_NOTE_BYTES))
    except OSError:
        return ()


def write_note(mount: Path, freed: tuple[Freed, ...]) -> None:
    """Raises OSError."""
    write_durably(mount / NOTE, encode_note(freed))


def _delete(mount: Path, name: str) -> int:
    """How many bytes it had."""
    going = name_to_go(name)
    if going is None:
        raise Fatal("etcd-data-kept", f"{mount}/{name} is no left-over of a restore: only those are deleted")
    size = sum(_allocated(path) for path in (mount / name).rglob("*"))
    (mount / name).rename(mount / going)
    shutil.rmtree(mount / going)
    return size


def _make(reserve: Path, size: int) -> None:
    """Of blocks, not of a hole: what is sparse reserves nothing."""
    descriptor = os.open(reserve, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        reserve.unlink()
    finally:
        os.close(descriptor)
    sync_directory(reserve.parent)


def _allocated(path: Path) -> int:
    """Bytes of a regular file that nothing else can have; 0 for anything else, and for what is gone."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0
    return found.st_blocks * 512 if stat.S_ISREG(found.st_mode) else 0


def _generation(mark: Path) -> int:
    from units.etcd_restore import read_mark

    try:
        with mark.open("rb") as file:
            return read_mark(file.read(_NOTE_BYTES)) or 0
    except OSError:
        return 0
