"""Real block devices for the tests: loop devices, with a sysfs of their own that gives them EBS serial numbers."""

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.linux.clock import LinuxClock
from agent.linux.disks import Disks
from agent.linux.mounts import LinuxMounts

MIB = 1024 * 1024
VOLUME = "vol-0123456789abcdef0"


def sh(*arguments: str) -> str:
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout


@dataclass
class LoopDisk:
    """A loop device over a sparse file, listed in a sysfs double under an EBS serial number."""

    device: str
    image: Path
    sys: Path
    disks: Disks
    volume_id: str = VOLUME

    def write(self, offset: int, content: bytes) -> None:
        with Path(self.device).open("r+b", buffering=0) as device:
            device.seek(offset)
            device.write(content)
            os.fsync(device.fileno())

    def write_one(self, offset: int) -> None:
        """One byte; unbuffered writes to a block device come in whole sectors."""
        start = offset // 512 * 512
        sector = bytearray(512)
        sector[offset - start] = 1
        self.write(start, bytes(sector))

    def read(self, offset: int, length: int) -> bytes:
        with Path(self.device).open("rb", buffering=0) as device:
            device.seek(offset)
            return device.read(length)


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[int], LoopDisk]]:
    devices = []

    def make(size: int) -> LoopDisk:
        image = tmp_path / f"volume-{len(devices)}.img"
        with image.open("wb") as file:
            file.truncate(size)
        # Direct: its holes are read at 4 GB/s, and leave nothing in the page cache.
        device = sh("losetup", "--find", "--show", "--direct-io=on", str(image)).strip()
        devices.append(device)
        sys = tmp_path / f"sys-{len(devices)}"
        list_in_sysfs(sys, Path(device).name, serial=VOLUME.replace("-", "") + "  \n", number=number_of(device))
        return LoopDisk(device, image, sys, Disks(LinuxClock(), LinuxMounts(), sys=sys))

    yield make
    for device in devices:
        subprocess.run(["umount", "--quiet", device], check=False, capture_output=True)
        sh("losetup", "--detach", device)


def list_in_sysfs(sys: Path, name: str, *, serial: str, number: str, under: str = "serial", **attributes: str) -> Path:
    entry = sys / "block" / name
    for attribute, text in {under: serial, "dev": f"{number}\n", **attributes}.items():
        path = entry / attribute
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return entry


def number_of(device: str) -> str:
    number = Path(device).stat().st_rdev
    return f"{os.major(number)}:{os.minor(number)}"
