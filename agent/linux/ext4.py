"""The size of an ext4 file system, and whether its device has outgrown it. Few imports: the poll looks every minute."""

import os
from pathlib import Path

ROUNDING = 16 * 1024 * 1024  # EBS grows by whole GiB; resize2fs may leave less than a block group
_64BIT = 0x80  # incompatible feature: block counts have a high half


def ext4_bytes(superblock: bytes) -> int | None:
    """The size of the file system, of its first super block (linux/fs/ext4/ext4.h); None if it is none."""
    if len(superblock) < 1024 or superblock[0x38:0x3A] != b"\x53\xef":
        return None
    low, block, high = (int.from_bytes(superblock[at : at + 4], "little") for at in (0x4, 0x18, 0x150))
    wide = int.from_bytes(superblock[0x60:0x64], "little") & _64BIT
    return (low + (high << 32 if wide else 0)) * (1024 << min(block, 6))


def outgrown(descriptor: int) -> bool:
    """Of an open block device. By the super block, which the kernel keeps current in its cache while it is mounted."""
    size = ext4_bytes(os.pread(descriptor, 1024, 1024))
    return size is not None and os.lseek(descriptor, 0, os.SEEK_END) - size > ROUNDING


def outgrown_at(mount: Path, *, sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> bool:
    """Of what is mounted there. False for what has no block device of its own. Raises OSError."""
    number = mount.stat().st_dev
    uevent = sys / "dev/block" / f"{os.major(number)}:{os.minor(number)}" / "uevent"
    if not uevent.exists():
        return False
    named = dict(line.split("=", 1) for line in uevent.read_text().splitlines() if "=" in line)
    if "DEVNAME" not in named:
        return False
    descriptor = os.open(dev / named["DEVNAME"], os.O_RDONLY | os.O_CLOEXEC)
    try:
        return outgrown(descriptor)
    finally:
        os.close(descriptor)
