"""The long look at a disk on which nothing is recognised, on real block devices."""

import random
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.linux.blank_look import find_data
from agent.linux.clock import LinuxClock
from agent.linux.device import opened_device
from agent.linux.disks import Disks
from agent.linux.mounts import LinuxMounts
from tests.agent.linux.loops import MIB, VOLUME, LoopDisk, sh
from tests.agent.linux.test_format_protocol import UUID, decision
from units.blank_proof import BLOCK, HEAD, MOST_READS, landmarks, samples
from units.errors import Fatal
from units.host import Clock
from units.memory import MemoryClock
from units.volumes import Format, Refuse

pytestmark = pytest.mark.root
GIB = 1024 * MIB
OPERATIONS = Path(__file__).parents[3] / "docs/operations.md"
MakeDisk = Callable[[int], LoopDisk]


@dataclass
class SlowDiskClockDouble(MemoryClock):
    """As if a minute passed between two looks at the clock: only what is read at any speed is read whole."""

    def monotonic(self) -> float:
        self.ticks += 60.0
        return self.ticks


def in_time(disk: LoopDisk) -> LoopDisk:
    """However busy the machine of the test is: all of the disk is read within its twelve seconds."""
    disk.disks = Disks(MemoryClock(), LinuxMounts(), sys=disk.sys)
    return disk


def data_at(disk: LoopDisk, clock: Clock | None = None) -> int | None:
    with opened_device(disk.device) as opened:
        return find_data(opened.descriptor, opened.size_bytes, VOLUME, clock or SlowDiskClockDouble())


def data(seed: int, length: int) -> bytes:
    return b"\x01" + random.Random(seed).randbytes(length - 1)


def read_so_far(disk: LoopDisk) -> tuple[int, int]:
    """Reads and bytes that the device was asked for (Documentation/block/stat.rst)."""
    fields = Path("/sys/block", Path(disk.device).name, "stat").read_text().split()
    return int(fields[0]), int(fields[2]) * 512


@pytest.mark.parametrize("size", [320 * MIB, GIB], ids=["320 MiB", "1 GiB"])
@pytest.mark.parametrize("seed", range(6))
def test_one_block_of_data_anywhere_on_a_disk_that_is_read_whole_is_found(
    make_disk: MakeDisk, size: int, seed: int
) -> None:
    disk = in_time(make_disk(size))
    place = random.Random(seed).randrange(size // BLOCK) * BLOCK
    disk.write(place, data(seed, BLOCK))
    found = decision(disk)
    assert isinstance(found, Refuse)
    assert found.code == "volume-not-blank"
    assert f"at byte {place} " in found.reason


def test_a_mebibyte_of_data_beyond_the_early_metadata_is_found(make_disk: MakeDisk) -> None:
    disk = in_time(make_disk(GIB))
    disk.write(500 * MIB, data(500, MIB))
    found = decision(disk)
    assert isinstance(found, Refuse)
    assert f"at byte {500 * MIB} " in found.reason


def test_a_slow_disk_costs_exactly_what_was_planned_and_that_has_an_end(make_disk: MakeDisk) -> None:
    size = 20 * GIB
    disk, clock = make_disk(size), SlowDiskClockDouble()
    before = read_so_far(disk)
    assert data_at(disk, clock) is None
    reads, volume = (now - then for now, then in zip(read_so_far(disk), before, strict=True))
    planned = [*landmarks(size), (0, HEAD), *samples(size, HEAD, VOLUME)]
    assert volume == sum(length for _, length in planned)
    assert reads < MOST_READS
    assert clock.waits[0] == f"looking whether {VOLUME} is blank: 0.0 of 20.0 GiB"
    assert clock.waits[-1] == f"looking whether {VOLUME} is blank: 0.1 of 20.0 GiB, and 20352 of 20416 samples beyond"


def test_a_second_look_reads_all_of_it_again_for_nothing_of_the_first_is_in_the_page_cache(make_disk: MakeDisk) -> None:
    disk = make_disk(GIB)
    before = read_so_far(disk)[1]
    data_at(disk)
    once = read_so_far(disk)[1]
    data_at(disk)
    assert read_so_far(disk)[1] - once == once - before > 64 * MIB


def test_a_blank_disk_of_twenty_gibibytes_is_blank_and_the_wait_has_its_name(make_disk: MakeDisk) -> None:
    disk = make_disk(20 * GIB)
    shown: list[str] = []
    disk.disks = Disks(LinuxClock(shown.append), LinuxMounts(), sys=disk.sys)
    assert decision(disk) == Format()
    assert shown[0] == f"looking whether {VOLUME} is blank: 0.0 of 20.0 GiB"
    assert len(shown) == len(set(shown))


@pytest.mark.parametrize("seed", range(4))
def test_two_mebibytes_in_one_piece_anywhere_on_a_slow_disk_are_found(make_disk: MakeDisk, seed: int) -> None:
    disk = make_disk(20 * GIB)
    place = random.Random(seed).randrange(HEAD // BLOCK, (20 * GIB - 2 * MIB) // BLOCK) * BLOCK
    disk.write(place, data(seed, 2 * MIB))
    found = data_at(disk)
    assert found is not None
    assert place <= found < place + 2 * MIB


@pytest.mark.parametrize("place", [0, 10 * MIB, 10 * GIB, 20 * GIB - 1], ids=["first", "10 MiB", "middle", "last"])
def test_one_byte_where_formats_keep_something_is_found_on_a_slow_disk(make_disk: MakeDisk, place: int) -> None:
    disk = make_disk(20 * GIB)
    assert data_at(disk) is None
    disk.write_one(place)
    assert data_at(disk) == place


@pytest.mark.parametrize("size", [3 * GIB, 20 * GIB + 12 * MIB], ids=["3 GiB", "20 GiB"])
def test_a_copy_of_xfs_s_superblock_alone_is_found_on_a_slow_disk(make_disk: MakeDisk, size: int) -> None:
    """As mkfs.xfs of this machine lays them out: whatever a group's number, its header gives the disk away."""
    disk = make_disk(size)
    sh("mkfs.xfs", "-q", "-K", disk.device)
    superblock = disk.read(0, 512)  # xfs_format.h
    block, blocks, groups = struct.unpack(">4xI76xII", superblock[:92])
    assert groups >= 4
    for group in range(1, groups):
        blank = make_disk(size)
        blank.write(group * blocks * block, superblock)
        assert data_at(blank) == group * blocks * block


def test_a_device_that_is_shorter_than_it_says_is_not_blank(make_disk: MakeDisk) -> None:
    disk = make_disk(128 * MIB)
    with opened_device(disk.device) as opened, pytest.raises(Fatal, match="device ends at byte"):
        find_data(opened.descriptor, 2 * opened.size_bytes, VOLUME, MemoryClock())


def test_what_lies_outside_of_mkfs_s_own_metadata_outlives_it(make_disk: MakeDisk) -> None:
    """The last line of defence, for data that the look missed: mkfs.ext4 would have discarded all of the disk first."""
    disk = make_disk(320 * MIB)
    pattern = b"somebody's data ".ljust(BLOCK, b"!")
    with Path(disk.device).open("r+b", buffering=0) as device:
        device.writelines(pattern * (MIB // BLOCK) for _ in range(320))
    disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    kept = sum(disk.read(place, MIB).count(pattern) for place in range(0, 320 * MIB, MIB))
    assert kept > 0.9 * 320 * MIB / BLOCK


def test_mkfs_writes_as_much_of_a_member_s_volume_as_the_documentation_says(make_disk: MakeDisk) -> None:
    disk = make_disk(20 * GIB)
    before = written_so_far(disk)
    disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    written = written_so_far(disk) - before
    stated = re.search(r"writes ([0-9]+) MB \(inode tables and journal\)", " ".join(OPERATIONS.read_text().split()))
    assert stated is not None
    assert written / 1e6 == pytest.approx(int(stated[1]), rel=0.05)


def written_so_far(disk: LoopDisk) -> int:
    return int(Path("/sys/block", Path(disk.device).name, "stat").read_text().split()[6]) * 512
