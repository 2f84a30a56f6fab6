"""mkfs never touches what may be somebody's data; and what it began itself it finishes. On real block devices, through
the resources that a boot runs: after a refusal every byte of the disk is as it was.
"""

import contextlib
import hashlib
import os
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.linux.clock import LinuxClock
from agent.linux.disks import Disks
from agent.linux.mounts import LinuxMounts
from agent.linux.run import Completed, run
from tests.agent.linux.loops import MIB, VOLUME, LoopDisk, sh
from tests.agent.linux.test_volume_story import UUID, Crashes, Machine, PowerCut, TaggedVolumeDouble
from units.errors import Refused
from units.evidence import DeviceEvidence
from units.host import HeldVolume
from units.storage import MARKER
from units.volumes import volume_uuid

pytestmark = pytest.mark.root
BLOCK = 4096
OTHER = volume_uuid("vol-0fedcba9876543210")
SEEDS = range(int(os.environ.get("BOOTWRIGHT_MKFS_SEEDS", "8")))


@dataclass
class CopiedVolumeDouble(TaggedVolumeDouble):
    """A volume that EC2 made from a snapshot, or from nothing."""

    created_from: str | None = None

    def evidence(self, volume: HeldVolume) -> DeviceEvidence:
        return replace(super().evidence(volume), created_from=self.created_from)


@pytest.fixture
def disk(make_disk: Callable[[int], LoopDisk]) -> LoopDisk:
    return make_disk(320 * MIB)


@pytest.fixture
def machine(disk: LoopDisk, tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path / "etcd/main", CopiedVolumeDouble(disk.disks, disk.device))
    yield made
    made.end()


def xfs(disk: LoopDisk) -> None:
    sh("mkfs.xfs", "-q", disk.device)


def vfat(disk: LoopDisk) -> None:
    boot = b"\xeb\x3c\x90mkfs.fat" + bytes(27) + b"\x29\x12\x34\x56\x78NO NAME    FAT16   "
    disk.write(0, boot.ljust(510, b"\0") + b"\x55\xaa")


def swap(disk: LoopDisk) -> None:
    sh("mkswap", disk.device)


def gpt(disk: LoopDisk) -> None:
    subprocess.run(["sfdisk", "--quiet", "--no-reread", disk.device], input=b"label: gpt\n,10M\n", check=True)


def mbr(disk: LoopDisk) -> None:
    subprocess.run(["sfdisk", "--quiet", "--no-reread", disk.device], input=b"label: dos\n,10M\n", check=True)


def ext4_without_its_first_superblock(disk: LoopDisk) -> None:
    sh("mkfs.ext4", "-q", disk.device)
    disk.write(0, bytes(4096))


def our_ext4_without_its_first_superblock(disk: LoopDisk) -> None:
    disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    disk.write(0, bytes(4096))


def foreign_ext4(disk: LoopDisk) -> None:
    sh("mkfs.ext4", "-q", disk.device)


def copy_of_another_members_volume(disk: LoopDisk) -> None:
    disk.disks.make_ext4(VOLUME, disk.device, OTHER, "etcd-main")


def random_data(disk: LoopDisk) -> None:
    disk.write(10 * MIB, random.Random(1).randbytes(MIB))


def one_byte_at_the_end(disk: LoopDisk) -> None:
    disk.write_one(320 * MIB - 1)


REFUSED = {
    xfs: "volume-foreign-file-system",
    vfat: ("volume-foreign-file-system", "volume-partitioned"),
    swap: "volume-foreign-file-system",
    gpt: "volume-partitioned",
    mbr: "volume-partitioned",
    ext4_without_its_first_superblock: "volume-not-blank",
    our_ext4_without_its_first_superblock: "volume-not-blank",
    foreign_ext4: "volume-foreign-uuid",
    copy_of_another_members_volume: "volume-foreign-uuid",
    random_data: "volume-not-blank",
    one_byte_at_the_end: "volume-not-blank",
}
# EC2's tags that an old life of the volume, or somebody's hand, may have left on it.
TAGS = {
    "no tags": {},
    "an intent of ours": {"intent": UUID},
    "formatted by us": {"formatted": UUID},
    "both": {"intent": UUID, "formatted": UUID},
    "an intent for another": {"intent": OTHER},
}


@contextmanager
def untouched(disk: LoopDisk) -> Iterator[None]:
    before = _digest(disk)
    yield
    assert _digest(disk) == before, "the disk was written to"


def _digest(disk: LoopDisk) -> str:
    """Of every byte that is not zero, and its place; the holes of the sparse image need no reading."""
    sh("blockdev", "--flushbufs", disk.device)
    total, end = hashlib.sha256(), 0
    with disk.image.open("rb") as image, contextlib.suppress(OSError):  # ENXIO: no data after this
        while True:
            start = os.lseek(image.fileno(), end, os.SEEK_DATA)
            end = os.lseek(image.fileno(), start, os.SEEK_HOLE)
            for place in range(start, end, BLOCK):
                block = os.pread(image.fileno(), BLOCK, place)
                if block.strip(b"\0"):
                    total.update(f"{place} ".encode() + block)
    return total.hexdigest()


def refused(machine: Machine) -> str:
    with pytest.raises(Refused) as caught:
        machine.converge(Crashes())
    assert caught.value.message
    assert caught.value.remedy
    assert machine.volumes.formats == 0
    return caught.value.code


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_whatever_lies_on_a_volume_without_a_record_is_refused_and_left_as_it_is(
    machine: Machine, disk: LoopDisk, make: Callable[[LoopDisk], None]
) -> None:
    make(disk)
    with untouched(disk):
        assert refused(machine) in REFUSED[make]


@pytest.mark.parametrize("tags", list(TAGS)[1:])
@pytest.mark.parametrize(
    "make", [make for make in REFUSED if make not in (random_data, one_byte_at_the_end)], ids=lambda make: make.__name__
)
def test_no_tag_makes_a_recognised_or_formatted_disk_blank(
    machine: Machine, disk: LoopDisk, make: Callable[[LoopDisk], None], tags: str
) -> None:
    """An intent means that we wrote to it, and nobody else: it covers what no file system is recognised on."""
    if tags == "an intent of ours" and "superblock" in make.__name__:
        pytest.skip("an mkfs of ours that did not end looks exactly so, and is finished")
    make(disk)
    machine.volumes.tags.update(TAGS[tags])
    with untouched(disk):
        assert refused(machine).startswith("volume-")


def test_a_snapshot_copy_without_a_file_system_is_not_blank_whatever_it_reads(machine: Machine, disk: LoopDisk) -> None:
    assert isinstance(machine.volumes, CopiedVolumeDouble)
    machine.volumes.created_from = "snap-0123456789abcdef0"
    with untouched(disk):
        assert refused(machine) == "volume-not-created-blank"
    machine.volumes.tags["intent"] = UUID
    with untouched(disk):
        assert refused(machine) == "volume-not-created-blank"


def test_a_volume_that_is_mounted_elsewhere_is_left_alone(machine: Machine, disk: LoopDisk, tmp_path: Path) -> None:
    sh("mkfs.ext4", "-q", disk.device)
    place = tmp_path / "elsewhere"
    place.mkdir()
    sh("mount", "-o", "ro,noload", disk.device, str(place))
    try:
        with untouched(disk):
            assert refused(machine) == "volume-mounted-elsewhere"
    finally:
        sh("umount", str(place))


def test_a_blank_volume_that_something_claims_is_left_alone(machine: Machine, disk: LoopDisk) -> None:
    claim = os.open(disk.device, os.O_RDONLY | os.O_EXCL)
    try:
        with untouched(disk):
            assert refused(machine) == "volume-claimed"
    finally:
        os.close(claim)


class KilledMkfs:
    """`run`, under which mkfs dies at its nth write, as if the power went."""

    def __init__(self, when: int) -> None:
        self._when = when

    def __call__(
        self, arguments: Sequence[str], *, timeout: float, stdin: bytes = b"", allowed: tuple[int, ...] | None = (0,)
    ) -> Completed:
        if arguments[0] != "mkfs.ext4":
            return run(arguments, timeout=timeout, stdin=stdin, allowed=allowed)
        kill = f"inject=write,pwrite64:signal=SIGKILL:when={self._when}"
        subprocess.run(["strace", "-qq", "-o", "/dev/null", "-e", kill, *arguments], check=False)
        raise PowerCut(self._when)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_mkfs_that_is_killed_at_a_random_write_is_finished_on_the_next_boot(
    machine: Machine, disk: LoopDisk, seed: int
) -> None:
    """And again on the one after, if that is cut off too: nobody has to look at it."""
    chance = random.Random(seed)
    whole = machine.volumes.disks
    for _boot in range(chance.randint(1, 3)):
        clock, mounts = LinuxClock(), LinuxMounts()
        machine.volumes.disks = Disks(clock, mounts, KilledMkfs(chance.randint(1, 140)), sys=disk.sys)
        with pytest.raises(PowerCut):
            machine.converge(Crashes())
        assert machine.volumes.tags == {"intent": UUID}
    machine.volumes.disks = whole
    machine.converge(Crashes())
    assert machine.volumes.tags == {"formatted": UUID}
    assert (machine.path / MARKER).exists()
    machine.power_off()
    assert sh("blkid", "-p", "-s", "UUID", "-o", "value", disk.device).strip() == UUID
    sh("e2fsck", "-f", "-n", disk.device)
