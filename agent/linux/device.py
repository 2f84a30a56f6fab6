"""What lies on a block device, found without writing: blkid, wipefs, and samples of its bytes."""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.linux.atomic import explained
from agent.linux.run import Run
from units.errors import Fatal, Retryable

_TIMEOUT = 60.0
_BLKID_NOTHING = 2
_NOT_PROBED = -1
_MIB = 1024 * 1024
# The protocol asks for the first MiB. All of a file system's early metadata lies in the first 64: one second of a
# gp3 volume's throughput, once in a volume's life.
_HEAD, _TAIL, _SAMPLE, _SAMPLES = 64 * _MIB, 4 * _MIB, 64 * 1024, 256
_ZEROS = bytes(_MIB)


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
    samples_zero: bool  # only looked at where blkid recognises nothing


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


def device_half(run: Run, device: OpenDevice, *, serial_matches: bool, mounted_at: str | None, seed: str) -> DeviceHalf:
    """`seed` (the volume id) chooses which blocks are sampled, so that a second look sees the same ones."""
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
        signatures=find_signatures(run, device.path),
        samples_zero=probed.exit_code == _BLKID_NOTHING and samples_are_zero(device, seed),
    )


def samples_are_zero(device: OpenDevice, seed: str) -> bool:
    with explained("read", device.path):
        return all(_is_zero(device.descriptor, *place) for place in sample_places(device.size_bytes, seed))


def sample_places(size: int, seed: str) -> Iterator[tuple[int, int]]:
    """(offset, length) of everything that must be zero: head, tail, ext4's backup superblocks, a block per stratum."""
    yield 0, min(size, _HEAD)
    yield max(0, size - _TAIL), min(size, _TAIL)
    for offset in _backup_superblocks(size):
        yield offset, min(_SAMPLE, size - offset)
    stratum = size // _SAMPLES
    for number in range(_SAMPLES if stratum > _SAMPLE else 0):
        chance = int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:8], "big")
        yield number * stratum + chance % (stratum - _SAMPLE), _SAMPLE


def _backup_superblocks(size: int) -> Iterator[int]:
    """With sparse_super (the default since 1999) groups 1 and the powers of 3, 5 and 7 carry a copy."""
    for block in (1024, 2048, 4096, 65536):
        first = 1 if block == 1024 else 0  # with 1 KiB blocks, block 0 is the boot block
        for base in (3, 5, 7):
            group = 1
            while (offset := (group * 8 * block + first) * block) < size:
                yield offset
                group *= base


def _is_zero(descriptor: int, offset: int, length: int) -> bool:
    end = offset + length
    while offset < end:
        chunk = os.pread(descriptor, min(_MIB, end - offset), offset)
        if not chunk:
            raise Fatal("device-short", f"the device ends at byte {offset}, before the size it reports")
        if chunk != _ZEROS[: len(chunk)]:
            return False
        offset += len(chunk)
    return True


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
