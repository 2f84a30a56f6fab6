"""Disks and the format protocol on real block devices; every row of reference/etcd-pki.md 1.3 that loops can show."""

import os
import random
import signal
import subprocess
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from agent.linux.clock import LinuxClock
from agent.linux.disks import MKFS_OPTIONS, Disks
from agent.linux.ext4 import ext4_bytes
from agent.linux.mounts import LinuxMounts
from tests.agent.linux.loops import MIB, VOLUME, LoopDisk, sh
from tests.agent.linux.recorded import RunDouble
from units.errors import Fatal, Refused, Retryable
from units.evidence import DeviceEvidence
from units.volumes import Format, MountExisting, RecordFormatted, Refuse, ResumeFormat, decide, volume_uuid

pytestmark = pytest.mark.root
UUID = volume_uuid(VOLUME)
MakeDisk = Callable[[int], LoopDisk]


def evidence(disk: LoopDisk, **ec2: str | None) -> DeviceEvidence:
    half = disk.disks.device_evidence(VOLUME, disk.device)
    known = {"created_from": None, "intent_uuid": None, "formatted_uuid": None, **ec2}
    return DeviceEvidence(volume_id=VOLUME, **asdict(half), **known)


def decision(disk: LoopDisk, **ec2: str | None) -> object:
    return decide(evidence(disk, **ec2), UUID, 1)


def refusal(disk: LoopDisk, **ec2: str | None) -> str:
    found = decision(disk, **ec2)
    assert isinstance(found, Refuse), found
    assert found.reason
    assert found.remedy
    return found.code


def test_a_new_volume_is_formatted_and_then_mounted(make_disk: MakeDisk) -> None:
    disk = make_disk(256 * MIB)
    assert decision(disk) == Format()
    disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    assert decision(disk, intent_uuid=UUID) == RecordFormatted()
    assert decision(disk, formatted_uuid=UUID) == MountExisting()
    found = evidence(disk)
    assert (found.fstype, found.fs_uuid, found.signatures) == ("ext4", UUID, ("ext4@0x438",))
    assert "etcd-main" in sh("blkid", "-p", "-s", "LABEL", disk.device)
    disk.disks.fsck(disk.device)
    disk.disks.grow(disk.device)


def test_ext4_with_its_first_superblock_zeroed_is_never_formatted(make_disk: MakeDisk) -> None:
    disk = make_disk(256 * MIB)
    disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    disk.write(0, bytes(4096))
    assert evidence(disk).blkid_exit == 2
    assert refusal(disk) == "volume-not-blank"
    assert refusal(disk, formatted_uuid=UUID) == "volume-superblock-lost"
    assert refusal(disk, formatted_uuid=UUID, intent_uuid=UUID) == "volume-superblock-lost"


@pytest.mark.parametrize("block", [1024, 2048, 4096])
def test_backup_superblocks_alone_are_found_for_every_block_size(make_disk: MakeDisk, block: int) -> None:
    disk = make_disk(512 * MIB)
    sh("mkfs.ext4", "-q", "-b", str(block), "-E", "lazy_itable_init=1,nodiscard", "-O", "^resize_inode", disk.device)
    first = 1 if block == 1024 else 0
    backup = (8 * block + first) * block
    kept = disk.read(backup, 1024)
    assert kept[0x38:0x3A] == b"\x53\xef"
    sh("wipefs", "--quiet", "--all", disk.device)
    with disk.image.open("r+b") as image:
        image.truncate(0)
        image.truncate(512 * MIB)
    subprocess.run(["blockdev", "--flushbufs", disk.device], check=True)
    assert decision(disk) == Format()
    disk.write(backup, kept)
    assert refusal(disk) == "volume-not-blank"


@pytest.mark.parametrize("place", [0, 10 * MIB, 255 * MIB], ids=["start", "at 10 MiB", "end"])
def test_data_without_any_signature_is_never_formatted(make_disk: MakeDisk, place: int) -> None:
    disk = make_disk(256 * MIB)
    disk.write(place, random.Random(place).randbytes(MIB))
    assert evidence(disk).blkid_exit == 2
    assert refusal(disk) == "volume-not-blank"


def test_another_file_system_is_refused(make_disk: MakeDisk) -> None:
    disk = make_disk(320 * MIB)
    sh("mkfs.xfs", "-q", disk.device)
    assert refusal(disk) == "volume-foreign-file-system"
    assert refusal(disk, intent_uuid=UUID) == "volume-foreign-file-system"


def test_an_ext4_of_other_hands_is_refused(make_disk: MakeDisk) -> None:
    disk = make_disk(64 * MIB)
    sh("mkfs.ext4", "-q", disk.device)
    assert refusal(disk) == "volume-foreign-uuid"


@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_a_partition_table_is_refused(make_disk: MakeDisk, label: str) -> None:
    disk = make_disk(64 * MIB)
    subprocess.run(
        ["sfdisk", "--quiet", "--no-reread", disk.device], input=f"label: {label}\n,10M\n".encode(), check=True
    )
    assert refusal(disk) == "volume-partitioned"
    assert refusal(disk, intent_uuid=UUID) == "volume-partitioned"


def test_our_file_system_with_a_stray_signature_is_refused(make_disk: MakeDisk) -> None:
    disk = make_disk(64 * MIB)
    disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    disk.write(32768, b"\x01CD001\x01\x00")
    assert refusal(disk, formatted_uuid=UUID) == "volume-ambivalent"
    assert evidence(disk).signatures == ("ext4@0x438", "iso9660@0x8001")


def test_a_mounted_volume_is_refused_with_the_place_of_the_mount(make_disk: MakeDisk, tmp_path: Path) -> None:
    disk = make_disk(64 * MIB)
    disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    place = tmp_path / "a place\twith spaces"
    place.mkdir()
    sh("mount", disk.device, str(place))
    found = evidence(disk)
    assert (found.mounted_at, found.exclusive) == (str(place), False)
    assert refusal(disk, formatted_uuid=UUID) == "volume-mounted-elsewhere"
    with pytest.raises(Refused, match="unclaimed disk"):
        disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    sh("umount", disk.device)


def test_a_volume_that_something_else_claims_is_refused(make_disk: MakeDisk) -> None:
    disk = make_disk(64 * MIB)
    claim = os.open(disk.device, os.O_RDONLY | os.O_EXCL)
    try:
        assert refusal(disk) == "volume-claimed"
        with pytest.raises(Refused):
            disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    finally:
        os.close(claim)
    assert decision(disk) == Format()


def test_a_device_that_changed_its_serial_after_the_decision_is_not_formatted(make_disk: MakeDisk) -> None:
    disk = make_disk(64 * MIB)
    assert decision(disk) == Format()
    (disk.sys / "block" / Path(disk.device).name / "serial").write_text("vol0fedcba98765432100")
    assert refusal(disk) == "volume-serial-mismatch"
    with pytest.raises(Refused, match="serial number"):
        disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    assert disk.read(0, 65536) == bytes(65536)


def test_a_device_that_has_only_the_name_of_the_volume_is_refused(make_disk: MakeDisk) -> None:
    """Between a detach and an attach a name may come to mean another disk."""
    disk = make_disk(64 * MIB)
    (disk.sys / "block" / Path(disk.device).name / "dev").write_text("259:77\n")
    assert refusal(disk) == "volume-serial-mismatch"
    with pytest.raises(Refused, match="serial number"):
        disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")


def test_a_file_instead_of_a_device_is_refused(make_disk: MakeDisk) -> None:
    disk = make_disk(64 * MIB)
    disk.device = str(disk.image)
    assert refusal(disk) == "volume-not-a-block-device"


def test_a_device_that_is_gone_is_a_matter_of_trying_again(make_disk: MakeDisk) -> None:
    disk = make_disk(64 * MIB)
    with pytest.raises(Retryable, match="is gone"):
        disk.disks.device_evidence(VOLUME, "/dev/no-such-disk")


def test_evidence_writes_nothing(make_disk: MakeDisk) -> None:
    disk = make_disk(64 * MIB)
    before = disk.image.stat()
    evidence(disk)
    after = disk.image.stat()
    assert (after.st_blocks, after.st_mtime_ns) == (before.st_blocks, before.st_mtime_ns)


def test_mkfs_killed_at_any_write_is_resumed_and_never_taken_for_foreign(make_disk: MakeDisk) -> None:
    """A power cut in mkfs: the next run sees an unfinished one and the intent, or our complete file system."""
    disk = make_disk(256 * MIB)
    mkfs = ["mkfs.ext4", *MKFS_OPTIONS, "-U", UUID, disk.device]
    trace = disk.image.with_name("trace")
    sh("strace", "-qq", "-o", str(trace), "-e", "trace=write,pwrite64", *mkfs)
    writes = len(trace.read_text().splitlines())
    assert writes > 100
    for number in {*range(writes // 16, writes, writes // 16), writes - 1, writes}:
        sh("wipefs", "--quiet", "--all", disk.device)
        kill = f"inject=write,pwrite64:signal=SIGKILL:when={number}"
        ended = subprocess.run(["strace", "-qq", "-o", "/dev/null", "-e", kill, *mkfs], check=False)
        assert ended.returncode == -signal.SIGKILL
        # The signal arrives before the call is carried out: the last one is the primary superblock.
        assert decision(disk, intent_uuid=UUID) == ResumeFormat(), number
        assert isinstance(decision(disk), Refuse), "without the record of an intent it is not ours to format"
    sh("wipefs", "--quiet", "--all", disk.device)
    disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    assert decision(disk, intent_uuid=UUID) == RecordFormatted()


def test_fsck_repairs_what_is_safe_and_refuses_the_rest(make_disk: MakeDisk) -> None:
    disk = make_disk(64 * MIB)
    disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    sh("debugfs", "-w", "-R", "ssv state 0", disk.device)  # not cleanly unmounted
    disk.disks.fsck(disk.device)
    sh("debugfs", "-w", "-R", "clri <2>", disk.device)  # no root directory
    sh("debugfs", "-w", "-R", "ssv state 2", disk.device)  # errors detected
    with pytest.raises(Refused, match=r"e2fsck -p .* ended with [4-9]") as refused:
        disk.disks.fsck(disk.device)
    assert refused.value.code == "fsck-needs-a-person"


@pytest.mark.parametrize(
    ("exit_code", "refused"),
    [
        (0, False),
        (1, False),
        (2, False),
        (3, False),
        (4, True),
        (5, True),
        (8, True),
        (12, True),
        (32, True),
        (-9, True),
    ],
)
def test_every_exit_code_of_e2fsck_is_known(exit_code: int, refused: bool, caplog: pytest.LogCaptureFixture) -> None:
    tool = RunDouble(lambda _arguments: (exit_code, "etcd-main: recovering journal\n", ""))
    disks = Disks(LinuxClock(), LinuxMounts(), tool)
    if refused:
        with pytest.raises(Refused, match="recovering journal"):
            disks.fsck("/dev/nvme1n1")
    else:
        disks.fsck("/dev/nvme1n1")
        assert ("recovering journal" in caplog.text) == (exit_code != 0)
    assert tool.asked == [("e2fsck", "-p", "/dev/nvme1n1")]


def test_a_mounted_file_system_is_not_checked(make_disk: MakeDisk, tmp_path: Path) -> None:
    disk = make_disk(64 * MIB)
    disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    sh("mount", disk.device, str(tmp_path))
    with pytest.raises(Refused, match="is mounted"):
        disk.disks.fsck(disk.device)
    sh("umount", disk.device)


def test_mkfs_that_fails_says_why_and_an_unproven_one_is_not_believed(make_disk: MakeDisk) -> None:
    small = make_disk(16 * 1024)
    with pytest.raises(Fatal, match=r"mkfs\.ext4 .* ended with 1"):
        small.disks.make_ext4(VOLUME, small.device, UUID, "etcd-main")
    disk = make_disk(64 * MIB)
    liar = Disks(LinuxClock(), LinuxMounts(), RunDouble(lambda _arguments: ""), sys=disk.sys)
    with pytest.raises(Fatal, match=r"after mkfs\.ext4"):
        liar.make_ext4(VOLUME, disk.device, UUID, "etcd-main")


def test_growing_works_while_mounted(make_disk: MakeDisk, tmp_path: Path) -> None:
    disk = make_disk(64 * MIB)
    disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    place = tmp_path / "mounted"
    place.mkdir()
    with disk.image.open("r+b") as image:
        image.truncate(256 * MIB)
    sh("losetup", "--set-capacity", disk.device)
    sh("mount", disk.device, str(place))
    before = os.statvfs(place).f_blocks
    if _may_resize_mounted():
        disk.disks.grow(disk.device)
        assert os.statvfs(place).f_blocks > 2 * before
    else:  # a container: at least the refusal must be explained; the lab grows a mounted volume for real
        with pytest.raises(Fatal, match="Permission denied to resize"):
            disk.disks.grow(disk.device)
    sh("umount", disk.device)


def test_growing_follows_the_device_and_is_a_no_op_after(make_disk: MakeDisk) -> None:
    disk = make_disk(64 * MIB)
    disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main")
    assert not disk.disks.outgrown(disk.device)
    with disk.image.open("r+b") as image:
        image.truncate(256 * MIB)
    sh("losetup", "--set-capacity", disk.device)
    sh("e2fsck", "-f", "-p", disk.device)
    assert disk.disks.outgrown(disk.device)
    disk.disks.grow(disk.device)
    assert _file_system_bytes(disk) == 256 * MIB
    assert not disk.disks.outgrown(disk.device)
    disk.disks.grow(disk.device)
    assert _file_system_bytes(disk) == 256 * MIB
    assert decision(disk, formatted_uuid=UUID) == MountExisting()


@pytest.mark.parametrize("size", [64 * MIB, 300 * MIB, 5 * 1024 * MIB + 12 * MIB, 20 * 1024 * MIB])
@pytest.mark.parametrize("options", [(), ("-b", "1024"), ("-O", "^64bit")], ids=["as we make it", "1 KiB", "32 bit"])
def test_the_size_in_the_super_block_is_read_as_dumpe2fs_reads_it(
    make_disk: MakeDisk, size: int, options: tuple[str, ...]
) -> None:
    disk = make_disk(size)
    sh("mkfs.ext4", "-q", "-E", "lazy_itable_init=1,nodiscard", *options, disk.device)
    assert ext4_bytes(disk.read(1024, 1024)) == _file_system_bytes(disk)
    assert not disk.disks.outgrown(disk.device)


def test_what_is_no_ext4_has_no_size(make_disk: MakeDisk) -> None:
    disk = make_disk(64 * MIB)
    assert ext4_bytes(disk.read(1024, 1024)) is None
    assert ext4_bytes(b"") is None
    assert not disk.disks.outgrown(disk.device)


def _file_system_bytes(disk: LoopDisk) -> int:
    lines = sh("dumpe2fs", "-h", disk.device).splitlines()
    found = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(found["Block count"]) * int(found["Block size"])


def _may_resize_mounted() -> bool:
    """CAP_SYS_RESOURCE, bit 24."""
    effective = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> 24 & 1)


def test_a_label_that_ext4_would_cut_is_refused_before_anything_is_written(make_disk: MakeDisk) -> None:
    disk = make_disk(64 * MIB)
    with pytest.raises(Fatal, match="16 bytes"):
        disk.disks.make_ext4(VOLUME, disk.device, UUID, "etcd-main-member-1")
    assert decision(disk) == Format()
