"""Block devices of EBS volumes: found by serial number, looked at, formatted, checked, grown.

Device names are of the moment and udev's links may be stale (aws-ebs-csi-driver issue 1224): the serial number in
sysfs is the identity, and it is read again after the device was opened.
"""

import logging
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.linux.atomic import explained
from agent.linux.device import (
    DeviceHalf,
    OpenDevice,
    device_half,
    opened_device,
    probe_file_system,
)
from agent.linux.ext4 import outgrown
from agent.linux.mounts import LinuxMounts
from agent.linux.run import Run, run
from units.errors import Fatal, Refused, Retryable
from units.host import Clock

logger = logging.getLogger(__name__)

_POLL = 0.25  # seconds; sysfs costs next to nothing
_VOLUME_ID = re.compile(r"vol-[0-9a-f]{8,32}")
_EBS_MODEL = "Amazon Elastic Block Store"  # instance store disks have serials too, of another kind
_PATHS_OF_MULTIPATH = re.compile(r"nvme\d+c\d+n\d+")
_LABEL_BYTES = 16  # ext4's own limit; mke2fs would cut it
_MKFS_BYTES_PER_SECOND = 10 * 1024 * 1024  # far below gp3's 125 MiB/s; 1.6 % of the disk is written (inode tables)
# Nothing is left for the kernel to zero once it is mounted, and nothing of an mkfs that was cut off can be replayed.
MKFS_OPTIONS = ("-q", "-m0", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0")
_FSCK_TIMEOUT = 1800.0
_GROW_TIMEOUT = 600.0
_IO_TIMEOUT_MS = 4294967295  # amazon-ec2-utils: the default of 30 s turns a stall of EBS into a read-only file system


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk as sysfs lists it."""

    name: str  # nvme1n1
    serial: str
    number: str  # major:minor


class Disks:
    """`sys` and `dev` are where the kernel shows disks; a test puts its own sysfs there."""

    def __init__(
        self,
        clock: Clock,
        mounts: LinuxMounts,
        run: Run = run,
        *,
        sys: str | Path = "/sys",
        dev: str | Path = "/dev",
    ) -> None:
        self._clock = clock
        self._mounts = mounts
        self._run = run
        self._sys = Path(sys)
        self._dev = Path(dev)

    def find(self, volume_id: str) -> str | None:
        """The device of this volume, or None while it has none. Refused if two disks claim the serial number."""
        serial = _serial(volume_id)
        found = [disk for disk in self._disks() if disk.serial == serial]
        if len(found) > 1:
            names = ", ".join(disk.name for disk in found)
            raise Refused(
                "device-ambiguous",
                f"{volume_id} is the serial number of several disks: {names}",
                remedy="detach the volume, see which disk stays, and find out what it is",
            )
        device = self._dev / found[0].name if found else None
        return str(device) if device and self._is_node_of(device, found[0]) else None

    def wait_for(self, volume_id: str, deadline: float) -> str:
        """The device of an attached volume; `deadline` on the clock's monotonic scale. Retryable when it passes."""
        while (device := self.find(volume_id)) is None:
            left = deadline - self._clock.monotonic()
            if left <= 0:
                present = ", ".join(f"{disk.name} ({disk.serial or 'no serial'})" for disk in self._disks())
                raise Retryable(
                    "device-not-visible",
                    f"{volume_id} is attached, but no disk has its serial number yet; there is {present or 'none'}",
                    remedy="wait; if it stays so, look at dmesg, and at the attachment in EC2",
                )
            self._clock.wait(min(_POLL, left), f"waiting for the device of {volume_id}")
        return device

    def device_evidence(self, volume_id: str, device: str) -> DeviceHalf:
        """Only reads. The device is held exclusively meanwhile, if nobody else claims it.

        What looks blank is read at length (`agent.linux.blank_look`), with a wait that names the volume.
        """
        with opened_device(device) as opened:
            return device_half(
                self._run,
                opened,
                serial_matches=self._serial_matches(opened, volume_id),
                mounted_at=self._mounts.device_mounted_at(opened.number),
                volume_id=volume_id,
                clock=self._clock,
            )

    def make_ext4(self, volume_id: str, device: str, uuid: str, label: str) -> None:
        """mkfs, and proof that it is there. The decision was `units.volumes.decide`'s; identity is checked here again.

        mke2fs 1.47 writes the primary superblock last: a crash before the end leaves "nothing" for blkid. Without
        discard it touches nothing but its own metadata: were there data on the disk after all, most would outlive it.
        """
        if not 0 < len(label.encode()) <= _LABEL_BYTES:
            raise Fatal("label-too-long", f"file system label {label!r}: 1 to {_LABEL_BYTES} bytes are allowed")
        with opened_device(device) as opened:
            if not (opened.is_block_device and opened.exclusive and self._serial_matches(opened, volume_id)):
                raise Refused(
                    "device-changed",
                    f"{device} is not, or no longer, an unclaimed disk with the serial number of {volume_id}",
                    remedy="try again: the evidence will be gathered anew",
                )
            size = opened.size_bytes
        # Closed, because mke2fs opens it exclusively itself; without -F it refuses what is in use by then.
        command = ["mkfs.ext4", *MKFS_OPTIONS, "-U", uuid, "-L", label, "--", device]
        self._run(command, timeout=120 + size / 60 / _MKFS_BYTES_PER_SECOND)
        with opened_device(device) as opened, explained("flush", device):
            os.fsync(opened.descriptor)
        probed = probe_file_system(self._run, device)
        if (probed.fstype, probed.fs_uuid) != ("ext4", uuid):
            raise Fatal("mkfs-failed", f"after mkfs.ext4 {device} should hold ext4 {uuid}, but blkid says {probed}")

    def fsck(self, device: str) -> None:
        """Repairs what is safe to repair. Exit codes of e2fsck(8): 1 and 2 are repairs made, 4 and up need a person."""
        ended = self._run(["e2fsck", "-p", device], timeout=_FSCK_TIMEOUT, allowed=None)
        if ended.exit_code >= 4 or ended.exit_code < 0:
            raise Refused(
                "fsck-needs-a-person",
                f"e2fsck -p on {device} ended with {ended.exit_code}: {ended.complaint()}",
                remedy="snapshot the volume first, then `e2fsck -f` by hand; or replace the member",
            )
        if ended.exit_code != 0:
            logger.warning("e2fsck repaired %s: %s", device, ended.complaint(), extra={"device": device})

    def outgrown(self, device: str) -> bool:
        """By the super block, which the kernel keeps current in its cache while the file system is mounted."""
        with opened_device(device) as opened, explained("read", device):
            return outgrown(opened.descriptor)

    def grow(self, device: str) -> None:
        """To the device's size, while mounted. Nothing happens if it fits already."""
        self._run(["resize2fs", device], timeout=_GROW_TIMEOUT)

    def make_patient(self, device: str) -> None:
        """Let a stalled EBS volume stall, instead of turning its file system read-only after 30 s."""
        path = self._sys / "block" / Path(device).name / "queue/io_timeout"
        if not path.exists():  # loop and UML disks have none
            return
        with explained("write", path):
            if int(path.read_text(encoding="ascii")) < _IO_TIMEOUT_MS:
                path.write_text(f"{_IO_TIMEOUT_MS}\n", encoding="ascii")

    def _disks(self) -> Iterator[Disk]:
        for entry in sorted((self._sys / "block").iterdir()):
            if _PATHS_OF_MULTIPATH.fullmatch(entry.name) or _attribute(entry, "hidden") == "1":
                continue
            if entry.name.startswith("nvme") and _attribute(entry, "device/model") != _EBS_MODEL:
                continue
            serial = _attribute(entry, "device/serial") or _attribute(entry, "serial") or ""
            yield Disk(entry.name, serial, _attribute(entry, "dev") or "")

    def _serial_matches(self, opened: OpenDevice, volume_id: str) -> bool:
        """Of the very device that is open, not of what has its name by now."""
        return any(disk.number == opened.number and disk.serial == _serial(volume_id) for disk in self._disks())

    def _is_node_of(self, device: Path, disk: Disk) -> bool:
        """False until devtmpfs has made the node; never true for a left-over one of another disk."""
        try:
            found = device.stat()
        except FileNotFoundError:
            return False
        return stat.S_ISBLK(found.st_mode) and f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}" == disk.number


def _serial(volume_id: str) -> str:
    if not _VOLUME_ID.fullmatch(volume_id):
        raise Fatal("volume-id-invalid", f"{volume_id!r} is not an EBS volume id (vol-0123456789abcdef0)")
    return volume_id.replace("-", "")


def _attribute(entry: Path, name: str) -> str | None:
    """NVMe pads with spaces, some drivers with NULs. None if a disk has no such attribute, or went away meanwhile."""
    try:
        return (entry / name).read_text(encoding="ascii", errors="replace").strip(" \n\0")
    except OSError:
        return None
