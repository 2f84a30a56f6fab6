"""Mounts, parsed and real."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.linux.mounts import LinuxMounts, parse_mountinfo
from tests.agent.linux.loops import MIB, LoopDisk, sh
from tests.agent.linux.recorded import RunDouble
from units.errors import Fatal, Refused
from units.host import MountState
from units.storage import OPTIONS

MakeDisk = Callable[[int], LoopDisk]

RECORDED = r"""
22 29 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
29 1 259:1 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p1 rw,errors=remount-ro
91 29 259:4 / /var/lib/etcd/main rw,nosuid,nodev,noexec,noatime shared:52 master:3 - ext4 /dev/nvme1n1 rw
95 29 0:51 / /mnt/a\040b\011c\134d rw - fuse.x user\040space rw,user_id=0
97 29 259:5 / /broken rw,noatime - ext4 /dev/nvme2n1 ro,errors=remount-ro
98 91 0:52 / /var/lib/etcd/main rw - tmpfs on-top rw,size=4k
"""


@pytest.fixture
def recorded(tmp_path: Path) -> LinuxMounts:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(RECORDED)
    return LinuxMounts(RunDouble(lambda _arguments: ""), proc=tmp_path)


def test_every_line_is_understood() -> None:
    entries = parse_mountinfo(RECORDED)
    assert [entry.path for entry in entries][3] == "/mnt/a b\tc\\d"
    assert entries[3].source == "user space"
    assert [entry.device for entry in entries] == ["0:20", "259:1", "259:4", "0:51", "259:5", "0:52"]
    assert entries[2].options == ("rw", "nosuid", "nodev", "noexec", "noatime")


def test_of_two_mounts_in_one_place_the_upper_one_counts(recorded: LinuxMounts) -> None:
    assert recorded.mounted("/var/lib/etcd/main") == MountState("on-top", "tmpfs", ("rw", "size=4k"))


def test_a_place_is_mounted_by_any_spelling_of_its_path(recorded: LinuxMounts) -> None:
    assert recorded.mounted("/broken/") == recorded.mounted("/broken")
    assert recorded.mounted("/brok") is None
    assert recorded.mounted("/broken/below") is None


def test_a_file_system_that_went_read_only_says_so(recorded: LinuxMounts) -> None:
    assert recorded.mounted("/broken") == MountState("/dev/nvme2n1", "ext4", ("noatime", "errors=remount-ro", "ro"))


@pytest.mark.parametrize("word", ["emergency_ro", "shutdown"])
def test_a_file_system_that_only_says_so_in_words_of_its_own_is_read_only(word: str) -> None:
    """As recorded on Linux 6.18 after an error: `rw` twice, and every write refused."""
    line = f"76 27 7:1 / /var/lib/etcd/main rw,noatime - ext4 /dev/nvme1n1 rw,errors=remount-ro,{word}"
    assert parse_mountinfo(line)[0].options == ("noatime", "errors=remount-ro", word, "ro")


def test_a_device_is_found_by_its_number(recorded: LinuxMounts) -> None:
    assert recorded.device_mounted_at("259:4") == "/var/lib/etcd/main"
    assert recorded.device_mounted_at("259:9") is None


def test_a_place_behind_a_symlink_is_found(recorded: LinuxMounts, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/var/lib/etcd")
    assert recorded.mounted(f"{tmp_path}/link/main") == recorded.mounted("/var/lib/etcd/main")


def test_this_machines_own_mounts_are_understood() -> None:
    root = LinuxMounts().mounted("/")
    assert root is not None
    assert {"rw", "ro"} & set(root.options)


@pytest.mark.root
def test_a_file_system_is_mounted_with_its_options(make_disk: MakeDisk, tmp_path: Path) -> None:
    disk = make_disk(64 * MIB)
    sh("mkfs.ext4", "-q", disk.device)
    place = tmp_path / "main"
    place.mkdir()
    mounts = LinuxMounts()
    assert mounts.mounted(str(place)) is None
    mounts.mount(disk.device, str(place), fstype="ext4", options=("noatime", "nodev", "nosuid", "noexec"))
    try:
        state = mounts.mounted(str(place))
        assert state is not None
        assert (state.source, state.fstype) == (disk.device, "ext4")
        assert {"noatime", "nodev", "nosuid", "noexec"} <= set(state.options)
    finally:
        sh("umount", str(place))


@pytest.mark.root
def test_a_remount_changes_the_flags_of_the_mount_and_leaves_the_file_system_as_it_is(
    make_disk: MakeDisk, tmp_path: Path
) -> None:
    disk = make_disk(64 * MIB)
    sh("mkfs.ext4", "-q", disk.device)
    place = tmp_path / "main"
    place.mkdir()
    sh("mount", "-o", "commit=17", disk.device, str(place))
    mounts = LinuxMounts()
    try:
        mounts.remount(str(place), options=OPTIONS)
        state = mounts.mounted(str(place))
        assert state is not None
        assert {*OPTIONS, "rw", "commit=17"} <= set(state.options)
        (place / "file").write_text("writable")
        sh("mount", "-o", "remount,ro,dev", str(place))
        mounts.remount(str(place), options=OPTIONS)
        state = mounts.mounted(str(place))
        assert state is not None
        assert {*OPTIONS, "ro"} <= set(state.options), "a super block that is read-only stays so"
        with pytest.raises(OSError, match="Read-only"):
            (place / "file").write_text("not writable")
    finally:
        sh("umount", str(place))


@pytest.mark.root
def test_a_remount_of_what_is_not_mounted_says_so(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match=f"cannot remount {tmp_path}: .*not mounted") as failed:
        LinuxMounts().remount(str(tmp_path), options=OPTIONS)
    assert failed.value.code == "mount-failed"


@pytest.mark.root
def test_a_mount_that_fails_says_why(make_disk: MakeDisk, tmp_path: Path) -> None:
    disk = make_disk(MIB)
    with pytest.raises(Fatal, match=f"cannot mount {disk.device} on {tmp_path} as ext4: .*wrong fs type") as failed:
        LinuxMounts().mount(disk.device, str(tmp_path), fstype="ext4", options=())
    assert failed.value.code == "mount-failed"
    assert LinuxMounts().mounted(str(tmp_path)) is None


@pytest.mark.root
def test_a_mount_that_only_the_agent_would_see_is_an_error(tmp_path: Path) -> None:
    """What PrivateMounts= in the agent's unit would do: kubelet and etcd would write to the root disk."""
    code = "import sys; from agent.linux.mounts import LinuxMounts\n"
    code += "LinuxMounts().mount('none', sys.argv[1], fstype='tmpfs', options=())"
    command = ["unshare", "--mount", "--propagation", "slave", sys.executable, "-c", code, tmp_path]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "is mounted for the agent only" in ended.stderr


@pytest.fixture
def mount_point(tmp_path: Path) -> Path:
    place = tmp_path / "etcd"
    place.mkdir()
    return place


@pytest.mark.root
def test_a_protected_mount_point_takes_no_file_and_still_takes_a_mount(mount_point: Path) -> None:
    mounts = LinuxMounts()
    mounts.protect(str(mount_point))
    mounts.protect(str(mount_point))
    try:
        assert sh("lsattr", "-d", str(mount_point))[4] == "i"
        with pytest.raises(PermissionError):
            (mount_point / "data").mkdir()
        mounts.mount("none", str(mount_point), fstype="tmpfs", options=("size=64k",))
        (mount_point / "data").mkdir()
        with pytest.raises(Refused) as refused:
            mounts.protect(str(mount_point))
        assert refused.value.code == "mount-point-in-use"
        sh("umount", str(mount_point))
    finally:
        sh("chattr", "-i", str(mount_point))


@pytest.mark.root
def test_a_mount_point_that_holds_data_is_refused_by_name(mount_point: Path) -> None:
    (mount_point / "member").mkdir()
    with pytest.raises(Refused, match="holds member") as refused:
        LinuxMounts().protect(str(mount_point))
    assert refused.value.code == "mount-point-not-empty"
    (mount_point / "member").rmdir()


@pytest.mark.root
def test_a_file_system_without_the_flag_is_tolerated_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sh("mount", "-t", "ramfs", "none", str(tmp_path))
    try:
        place = tmp_path / "etcd"
        place.mkdir()
        with caplog.at_level(logging.WARNING):
            LinuxMounts().protect(str(place))
        assert f"{place} cannot be made immutable" in caplog.text
    finally:
        sh("umount", str(tmp_path))


def test_a_mount_point_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Fatal, match="cannot protect"):
        LinuxMounts().protect(str(tmp_path / "none"))
