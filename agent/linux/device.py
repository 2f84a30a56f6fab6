"""What lies on a block device, found without writing: blkid, wipefs, and a look at its bytes."""

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.linux.atomic import explained
from agent.linux.blank_look import find_data
from agent.linux.run import Run
from units.errors import Fatal, Retryable
from units.host import Clock

_TIMEOUT = 60.0
_BLKID_NOTHING = 2
_NOT_PROBED = -1


@dataclass(frozen=True, slots=True)
class DeviceHalf:
    """The half of `units.evidence.DeviceEvidence` that the machine knows; EC2 knows the rest."""

    serial_matches: bool
    is_block_device: bool
    size_bytes: int
    mounted_at: str | None
    exclusive: bool
    blkid_exit: int  # -1 if there was nothing to probe
    fstype: str | None
    fs_uuid: str | None
    partition_table: str | None
    signatures: tuple[str, ...]  # TYPE@OFFSET, as `wipefs -o` takes it
    samples_zero: bool  # False, too, where nobody looked: blkid recognises something, or the disk is somebody's
    data_at: int | None = None  # the offset of what is not zero


@dataclass(frozen=True, slots=True)
class Probed:
    """What blkid says of a device by itself: no cache, no udev database."""

    exit_code: int  # 0 found, 2 nothing, 8 ambivalent
    fstype: str | None
    fs_uuid: str | None
    partition_table: str | None


@dataclass(frozen=True, slots=True)
class OpenDevice:
    """An open block device. While an exclusive one is open, nobody can mount it or make a file system on it."""

    path: str
    descriptor: int
    exclusive: bool
    number: str  # major:minor
    is_block_device: bool
    size_bytes: int


@contextmanager
def opened_device(path: str) -> Iterator[OpenDevice]:
    """Exclusively if nobody else claims it, else merely for reading. Retryable if it is gone."""
    descriptor, exclusive = _open(path)
    try:
        with explained("look at", path):
            found = os.fstat(descriptor)
            is_block = stat.S_ISBLK(found.st_mode)
            size = os.lseek(descriptor, 0, os.SEEK_END) if is_block else 0
        number = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        yield OpenDevice(path, descriptor, exclusive and is_block, number, is_block, size)
    finally:
        os.close(descriptor)


def probe_file_system(run: Run, device: str) -> Probed:
    ended = run(["blkid", "-p", "-o", "export", "--", device], timeout=_TIMEOUT, allowed=None)
    found = dict(line.split("=", 1) for line in ended.text.splitlines() if "=" in line)
    return Probed(ended.exit_code, found.get("TYPE"), found.get("UUID"), found.get("PTTYPE"))


def find_signatures(run: Run, device: str) -> tuple[str, ...]:
    """Every magic string that libblkid knows, with the offset at which it stands."""
    text = run(["wipefs", "--no-act", "--json", "--", device], timeout=_TIMEOUT).text
    try:
        found = json.loads(text)["signatures"] if text.strip() else []
        return tuple(f"{entry['type']}@{entry['offset']}" for entry in found)
    except (ValueError, KeyError, TypeError) as error:
        raise Fatal("tool-failed", f"wipefs printed something unknown about {device}: {text[:200]!r}") from error


def device_half(
    run: Run, device: OpenDevice, *, serial_matches: bool, mounted_at: str | None, volume_id: str, clock: Clock
) -> DeviceHalf:
    """Where nothing is recognised on a disk that nobody claims, it takes the time of `agent.linux.blank_look`."""
    if not device.is_block_device or device.size_bytes == 0:
        return DeviceHalf(
            serial_matches=serial_matches,
            is_block_device=device.is_block_device,
            size_bytes=0,
            mounted_at=mounted_at,
            exclusive=device.exclusive,
            blkid_exit=_NOT_PROBED,
            fstype=None,
            fs_uuid=None,
            partition_table=None,
            signatures=(),
            samples_zero=False,
        )
    probed = probe_file_system(run, device.path)
    signatures = find_signatures(run, device.path)
    unrecognised = probed.exit_code == _BLKID_NOTHING and not signatures
    looked = unrecognised and device.exclusive and serial_matches
    data_at = find_data(device.descriptor, device.size_bytes, volume_id, clock) if looked else None
    return DeviceHalf(
        serial_matches=serial_matches,
        is_block_device=True,
        size_bytes=device.size_bytes,
        mounted_at=mounted_at,
        exclusive=device.exclusive,
        blkid_exit=probed.exit_code,
        fstype=probed.fstype,
        fs_uuid=probed.fs_uuid,
        partition_table=probed.partition_table,
        signatures=signatures,
        samples_zero=looked and data_at is None,
        data_at=data_at,
    )


def _open(path: str) -> tuple[int, bool]:
    flags = os.O_RDONLY | os.O_CLOEXEC
    try:
        if not stat.S_ISBLK(Path(path).stat().st_mode):
            return os.open(path, flags | os.O_NONBLOCK), False
        try:
            return os.open(path, flags | os.O_EXCL), True
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return os.open(path, flags), False
    except FileNotFoundError as error:
        raise Retryable(
            "device-gone", f"{path} is gone", remedy="the volume was detached: look at it in EC2"
        ) from error
    except OSError as error:
        raise Fatal("device-unreadable", f"cannot open {path}: {error.strerror}", remedy="dmesg | tail") from error
