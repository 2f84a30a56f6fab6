"""The whole way of an etcd volume, from blank to marked, with a crash before and after every step of it.

Disk, file system, mount and marker are real; only EC2's half (two tags and an attachment) is a double.
"""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from agent.linux.clock import LinuxClock
from agent.linux.disks import Disks
from agent.linux.files import LinuxFiles
from agent.linux.mounts import LinuxMounts
from tests.agent.linux.loops import MIB, VOLUME, LoopDisk, sh
from units.errors import Refused
from units.evidence import DeviceEvidence
from units.host import HeldVolume, Host, VolumeClaim
from units.memory import MemoryHost
from units.storage import MARKER, OPTIONS, Mount, Volume
from units.volumes import Marker, volume_uuid

pytestmark = pytest.mark.root
CLAIM = VolumeClaim(cluster="alpha", etcd="main", members=("a",), candidates=("a",), minimum_bytes=64 * MIB)
UUID = volume_uuid(VOLUME)


class PowerCut(BaseException):
    """No handler of the agent's may catch it."""


@dataclass
class Crashes:
    """Counts what changes the world, and dies at one of them: before it happens, or when it has just happened."""

    at: int = 0
    after: bool = False
    seen: list[str] = field(default_factory=list)

    def around(self, name: str, act: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        self.seen.append(name)
        last = len(self.seen) == self.at
        if last and not self.after:
            raise PowerCut(name)
        result = act(*arguments, **keywords)
        if last:
            raise PowerCut(name)
        return result


class Fragile:
    """A port whose changing methods may be a crash."""

    CHANGES = frozenset(
        {"write", "make_directory", "mount", "remount", "protect", "attach", "record_intent", "format", "drop_intent"}
        | {"record_formatted", "repair", "grow"}
    )

    def __init__(self, port: object, crashes: Crashes) -> None:
        self._port = port
        self._crashes = crashes

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name not in self.CHANGES:
            return method
        return lambda *arguments, **keywords: self._crashes.around(name, method, *arguments, **keywords)


@dataclass
class TaggedVolumeDouble:
    """EC2's half in memory; it outlives every crash, as EC2 does."""

    disks: Disks
    device: str
    attached: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    formats: int = 0

    def held(self, claim: VolumeClaim) -> HeldVolume | None:
        return HeldVolume(VOLUME, claim.members[0], self.device) if self.attached else None

    def attach(self, claim: VolumeClaim) -> HeldVolume:
        self.attached = True
        return HeldVolume(VOLUME, claim.members[0], self.device)

    def evidence(self, volume: HeldVolume) -> DeviceEvidence:
        half = self.disks.device_evidence(VOLUME, volume.device)
        intent, formatted = self.tags.get("intent"), self.tags.get("formatted")
        return DeviceEvidence(VOLUME, created_from=None, intent_uuid=intent, formatted_uuid=formatted, **asdict(half))

    def record_intent(self, volume: HeldVolume, uuid: str) -> None:
        self.tags["intent"] = uuid

    def format(self, volume: HeldVolume, uuid: str, label: str) -> None:
        self.formats += 1
        self.disks.make_ext4(VOLUME, volume.device, uuid, label)

    def record_formatted(self, volume: HeldVolume, uuid: str) -> None:
        self.tags["formatted"] = uuid
        self.tags.pop("intent", None)

    def repair(self, volume: HeldVolume) -> None:
        self.disks.fsck(volume.device)

    def outgrown(self, volume: HeldVolume) -> bool:
        return self.disks.outgrown(volume.device)

    def grow(self, volume: HeldVolume) -> None:
        """Needs CAP_SYS_RESOURCE on a mounted file system, which a container may lack: see test_format_protocol."""


@dataclass
class Machine:
    path: Path
    volumes: TaggedVolumeDouble

    def host(self, crashes: Crashes) -> Host:
        memory = MemoryHost(secrets=None)
        ports = {"files": LinuxFiles(), "mounts": LinuxMounts(), "volumes": self.volumes}
        fragile = {name: Fragile(port, crashes) for name, port in ports.items()}
        return replace(memory.host, clock=LinuxClock(), **fragile)

    def converge(self, crashes: Crashes) -> None:
        host = self.host(crashes)
        for resource in (Volume(CLAIM, str(self.path)), Mount(CLAIM, str(self.path))):
            if resource.check(host):
                resource.apply(host)
            assert resource.check(host) is None

    def power_off(self) -> None:
        subprocess.run(["umount", "--quiet", self.path], check=False)

    def end(self) -> None:
        """Its mount point is immutable: left so, nobody could delete the test's folder."""
        self.power_off()
        if self.path.exists():
            sh("chattr", "-i", str(self.path))


@pytest.fixture
def machine(make_disk: Callable[[int], LoopDisk], tmp_path: Path) -> Iterator[Machine]:
    disk = make_disk(64 * MIB)
    made = Machine(tmp_path / "etcd/main", TaggedVolumeDouble(disk.disks, disk.device))
    yield made
    made.end()


def test_a_blank_volume_becomes_a_marked_one_and_stays_it(machine: Machine) -> None:
    first = Crashes()
    machine.converge(first)
    assert first.seen == [
        *("make_directory", "protect", "attach", "record_intent", "format", "record_formatted"),
        *("protect", "repair", "mount", "write"),
    ]
    second = Crashes()
    machine.converge(second)
    assert second.seen == [], "the second run changes nothing"
    machine.power_off()
    after_reboot = Crashes()
    machine.converge(after_reboot)
    assert after_reboot.seen == ["protect", "repair", "mount"]
    assert machine.volumes.formats == 1


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", range(1, 11))
def test_a_power_cut_at_any_step_heals_on_the_next_boot(machine: Machine, step: int, after: bool) -> None:
    crashes = Crashes(at=step, after=after)
    with pytest.raises(PowerCut):
        machine.converge(crashes)
    machine.power_off()
    machine.converge(Crashes())
    marker = Marker.decode((machine.path / MARKER).read_bytes())
    marker.check(cluster="alpha", etcd="main", member="a", volume_id=VOLUME)
    assert machine.volumes.tags == {"formatted": UUID}
    assert LinuxMounts().mounted(str(machine.path)).source == machine.volumes.device


def test_data_outlives_everything_that_happens_to_the_machine(machine: Machine) -> None:
    machine.converge(Crashes())
    (machine.path / "member").write_text("the cluster's data")
    for step in range(1, 4):
        for after in (False, True):
            machine.power_off()
            with pytest.raises(PowerCut):
                machine.converge(Crashes(at=step, after=after))
    machine.power_off()
    machine.converge(Crashes())
    assert (machine.path / "member").read_text() == "the cluster's data"
    assert machine.volumes.formats == 1


def test_with_every_record_lost_the_data_is_still_not_formatted(machine: Machine) -> None:
    machine.converge(Crashes())
    (machine.path / "member").write_text("the cluster's data")
    machine.power_off()
    machine.volumes.tags.clear()
    with Path(machine.volumes.device).open("r+b") as device:
        device.write(bytes(4096))
    with pytest.raises(Refused) as refused:
        machine.converge(Crashes())
    assert refused.value.code == "volume-not-blank"
    subprocess.run(["e2fsck", "-y", machine.volumes.device], check=False, capture_output=True)  # 1: it was repaired
    sh("mount", machine.volumes.device, str(machine.path))
    assert (machine.path / "member").read_text() == "the cluster's data"


def test_a_volume_with_another_members_data_is_refused_while_it_is_mounted_nowhere_else(machine: Machine) -> None:
    machine.converge(Crashes())
    marker = machine.path / MARKER
    marker.write_bytes(marker.read_bytes().replace(b'"a"', b'"b"'))
    with pytest.raises(Refused) as refused:
        machine.converge(Crashes())
    assert refused.value.code == "etcd-marker-mismatch"


def test_a_volume_that_somebody_mounted_without_our_options_gets_them(machine: Machine) -> None:
    machine.converge(Crashes())
    machine.power_off()
    sh("mount", machine.volumes.device, str(machine.path))
    machine.converge(Crashes())
    found = LinuxMounts().mounted(str(machine.path))
    assert found is not None
    assert {*OPTIONS, "rw"} <= set(found.options)


def test_a_volume_that_the_kernel_made_read_only_stops_until_it_was_checked(machine: Machine) -> None:
    """errors=remount-ro, as an I/O error of EBS sets it off: made writable, it could lose what e2fsck saves."""
    machine.converge(Crashes())
    Path("/sys/fs/ext4", Path(machine.volumes.device).name, "trigger_fs_error").write_text("an I/O error of a test")
    with pytest.raises(Refused) as refused:
        machine.converge(Crashes())
    assert refused.value.code == "etcd-volume-read-only"
    assert "ro" in LinuxMounts().mounted(str(machine.path)).options
    machine.power_off()
    machine.converge(Crashes())
    assert "rw" in LinuxMounts().mounted(str(machine.path)).options
    sh("umount", str(machine.path))
    assert "clean" in sh("tune2fs", "-l", machine.volumes.device)


def test_what_was_written_to_the_bare_mount_point_stops_the_boot(machine: Machine) -> None:
    machine.path.mkdir(parents=True)
    (machine.path / "member").mkdir()
    with pytest.raises(Refused) as refused:
        machine.converge(Crashes())
    assert refused.value.code == "mount-point-not-empty"
    assert machine.volumes.formats == 0
    (machine.path / "member").rmdir()
