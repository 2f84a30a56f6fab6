"""Which device is a volume: only serial numbers in sysfs count."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.linux.clock import LinuxClock
from agent.linux.disks import Disks
from agent.linux.mounts import LinuxMounts
from tests.agent.linux.loops import MIB, VOLUME, LoopDisk, list_in_sysfs, number_of
from units.errors import Fatal, Refused, Retryable

pytestmark = pytest.mark.root


def disks_over(sys: Path, dev: Path = Path("/dev")) -> Disks:
    return Disks(LinuxClock(), LinuxMounts(), sys=sys, dev=dev)


@pytest.fixture
def node(tmp_path: Path) -> Callable[..., None]:
    """Puts a disk into sysfs and its device node into a dev directory."""

    def put(name: str, serial: str, minor: int, under: str = "device/serial", **attributes: str) -> None:
        list_in_sysfs(tmp_path / "sys", name, serial=serial, number=f"240:{minor}", under=under, **attributes)
        (tmp_path / "dev").mkdir(exist_ok=True)
        os.mknod(tmp_path / "dev" / name, 0o600 | 0o060000, os.makedev(240, minor))

    return put


EBS = {"device/model": "Amazon Elastic Block Store              \n"}


def test_an_nvme_disk_is_found_by_its_padded_serial(tmp_path: Path, node: Callable[..., None]) -> None:
    node("nvme0n1", "vol0aaaaaaaaaaaaaaaa\n", 0, **EBS)
    node("nvme1n1", "vol0123456789abcdef0  \n", 1, **EBS)
    assert disks_over(tmp_path / "sys", tmp_path / "dev").find(VOLUME) == str(tmp_path / "dev/nvme1n1")


def test_a_paravirtual_disk_is_found_by_its_own_serial(tmp_path: Path, node: Callable[..., None]) -> None:
    node("ubdb", "vol0123456789abcdef0\n", 16, under="serial")
    assert disks_over(tmp_path / "sys", tmp_path / "dev").find(VOLUME) == str(tmp_path / "dev/ubdb")


def test_instance_store_and_multipath_paths_are_not_volumes(tmp_path: Path, node: Callable[..., None]) -> None:
    node("nvme0n1", "vol0123456789abcdef0", 0, **{"device/model": "Amazon EC2 NVMe Instance Storage"})
    node("nvme0c0n1", "vol0123456789abcdef0", 1, **EBS)
    node("nvme2n1", "vol0123456789abcdef0", 2, hidden="1\n", **EBS)
    assert disks_over(tmp_path / "sys", tmp_path / "dev").find(VOLUME) is None


def test_two_disks_with_one_serial_are_refused_by_name(tmp_path: Path, node: Callable[..., None]) -> None:
    node("nvme1n1", "vol0123456789abcdef0", 1, **EBS)
    node("nvme1n2", "vol0123456789abcdef0", 2, **EBS)
    with pytest.raises(Refused, match="nvme1n1, nvme1n2"):
        disks_over(tmp_path / "sys", tmp_path / "dev").find(VOLUME)


def test_a_left_over_device_node_of_another_disk_is_not_used(tmp_path: Path, node: Callable[..., None]) -> None:
    node("nvme1n1", "vol0123456789abcdef0", 1, **EBS)
    (tmp_path / "sys/block/nvme1n1/dev").write_text("240:9\n")
    assert disks_over(tmp_path / "sys", tmp_path / "dev").find(VOLUME) is None


@pytest.mark.parametrize("volume_id", ["", "vol-", "vol-XYZ", "0123456789abcdef0", f"{VOLUME}\n", "vol-../x"])
def test_what_is_no_volume_id_is_an_error(tmp_path: Path, volume_id: str) -> None:
    (tmp_path / "sys/block").mkdir(parents=True)
    with pytest.raises(Fatal, match="not an EBS volume id"):
        disks_over(tmp_path / "sys").find(volume_id)


class ClockDouble(LinuxClock):
    """A clock whose waits pass at once, and let something happen."""

    def __init__(self, during: Callable[[int], None]) -> None:
        super().__init__()
        self.reasons: list[str] = []
        self._during = during
        self._seconds = 0.0

    def monotonic(self) -> float:
        return self._seconds

    def wait(self, seconds: float, reason: str) -> None:
        self.reasons.append(reason)
        self._seconds += seconds
        self._during(len(self.reasons))


def test_a_device_that_appears_late_is_waited_for_by_name(tmp_path: Path, node: Callable[..., None]) -> None:
    (tmp_path / "sys/block").mkdir(parents=True)
    clock = ClockDouble(lambda waits: node("nvme1n1", "vol0123456789abcdef0", 1, **EBS) if waits == 3 else None)
    disks = Disks(clock, LinuxMounts(), sys=tmp_path / "sys", dev=tmp_path / "dev")
    assert disks.wait_for(VOLUME, deadline=60) == str(tmp_path / "dev/nvme1n1")
    assert clock.reasons == [f"waiting for the device of {VOLUME}"] * 3


def test_a_device_that_never_appears_ends_in_a_retry_that_lists_the_others(
    tmp_path: Path, node: Callable[..., None]
) -> None:
    node("nvme0n1", "vol0aaaaaaaaaaaaaaaa", 0, **EBS)
    clock = ClockDouble(lambda _waits: None)
    disks = Disks(clock, LinuxMounts(), sys=tmp_path / "sys", dev=tmp_path / "dev")
    with pytest.raises(Retryable, match=r"nvme0n1 \(vol0aaaaaaaaaaaaaaaa\)") as late:
        disks.wait_for(VOLUME, deadline=60)
    assert late.value.code == "device-not-visible"
    assert clock.monotonic() == 60


def test_an_ebs_device_is_made_patient_once(tmp_path: Path) -> None:
    list_in_sysfs(tmp_path, "nvme1n1", serial="x", number="240:1", **{"queue/io_timeout": "30000\n"})
    disks_over(tmp_path).make_patient("/dev/nvme1n1")
    timeout = tmp_path / "block/nvme1n1/queue/io_timeout"
    assert timeout.read_text() == "4294967295\n"
    timeout.chmod(0o400)
    disks_over(tmp_path).make_patient("/dev/nvme1n1")
    disks_over(tmp_path).make_patient("/dev/loop77")


def test_the_number_in_sysfs_is_the_one_of_the_node(make_disk: Callable[[int], LoopDisk]) -> None:
    disk = make_disk(MIB)
    assert Path(f"/sys/block/{Path(disk.device).name}/dev").read_text().strip() == number_of(disk.device)
    assert disk.disks.find(VOLUME) == disk.device
