"""A member's volume on this machine, against EC2 as a state machine and disks that appear when EC2 says so."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.attaching import DEVICE_NAMES
from agent.linux.device import DeviceHalf
from agent.volume_memory import Memory, VolumeMemory
from agent.volumes import NodeVolumes
from tests.agent.ec2_double import Ec2Double, RegionDouble, VolumeDouble
from tests.agent.linux.loops import make_disk
from units.errors import BootwrightError, Fatal, Refused, Retryable
from units.host import VolumeClaim, Volumes
from units.volumes import Format, MountExisting, RecordFormatted, ResumeFormat, decide, volume_uuid

__all__ = ["make_disk"]

CLAIM = VolumeClaim(cluster="demo", etcd="main", members=("a", "b", "c"), candidates=("a", "b"), minimum_bytes=1024**3)
A, B = "vol-0aaaaaaaaaaaaaaa0", "vol-0bbbbbbbbbbbbbbb0"
BLANK = DeviceHalf(
    serial_matches=True,
    is_block_device=True,
    size_bytes=20 * 1024**3,
    mounted_at=None,
    exclusive=True,
    blkid_exit=2,
    fstype=None,
    fs_uuid=None,
    partition_table=None,
    signatures=(),
    samples_zero=True,
)


@dataclass
class DisksDouble:
    """Shows a disk for every volume that the region says is attached here."""

    region: RegionDouble
    instance_id: str
    halves: dict[str, DeviceHalf] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)

    def find(self, volume_id: str) -> str | None:
        volume = self.region.volumes[volume_id]
        here = volume.holder == self.instance_id and self.region.attachment_state(volume) == "attached"
        return f"/dev/{volume_id[-3:]}" if here else None

    def wait_for(self, volume_id: str, deadline: float) -> str:
        device = self.find(volume_id)
        if device is None or deadline <= self.region.monotonic():
            raise Retryable("device-not-visible", volume_id)
        return device

    def device_evidence(self, volume_id: str, device: str) -> DeviceHalf:
        assert device == self.find(volume_id)
        return self.halves.get(volume_id, BLANK)

    def make_ext4(self, volume_id: str, device: str, uuid: str, label: str) -> None:
        self.done.append(f"mkfs {volume_id} {device} {label}")
        self.halves[volume_id] = formatted_half(uuid)

    def fsck(self, device: str) -> None:
        self.done.append(f"fsck {device}")

    def outgrown(self, device: str) -> bool:
        return f"grow {device}" not in self.done

    def grow(self, device: str) -> None:
        self.done.append(f"grow {device}")

    def make_patient(self, device: str) -> None:
        self.done.append(f"patient {device}")


def formatted_half(uuid: str) -> DeviceHalf:
    return DeviceHalf(
        serial_matches=True,
        is_block_device=True,
        size_bytes=20 * 1024**3,
        mounted_at=None,
        exclusive=True,
        blkid_exit=0,
        fstype="ext4",
        fs_uuid=uuid,
        partition_table=None,
        signatures=("ext4@0x438",),
        samples_zero=False,
    )


@pytest.fixture
def region(clock) -> RegionDouble:
    made = RegionDouble(clock.monotonic)
    made.volumes = {A: VolumeDouble("a/a,b,c"), B: VolumeDouble("b/a,b,c")}
    made.instances = {"i-1": "running", "i-2": "running"}
    return made


@pytest.fixture
def machine(region, waits, tmp_path) -> Callable[[str], NodeVolumes]:
    """A machine by its instance id; asking again for the same one is its next boot."""

    def make(instance_id: str) -> NodeVolumes:
        return NodeVolumes(
            Ec2Double(region, instance_id),
            DisksDouble(region, instance_id),
            zone="eu-west-1a",
            instance_id=instance_id,
            waits=waits,
            memory=VolumeMemory(tmp_path / instance_id),
        )

    return make


def port(volumes: NodeVolumes) -> Volumes:
    """The type checker's word that the port is implemented."""
    return volumes


def test_the_first_candidate_that_is_free_is_attached_and_its_device_found(machine, region, said) -> None:
    node = machine("i-1")
    assert node.held(CLAIM) is None
    held = port(node).attach(CLAIM)
    assert (held.volume_id, held.member, held.device) == (A, "a", "/dev/aa0")
    assert node.held(CLAIM) == held
    assert any("vol-0aaaaaaaaaaaaaaa0 is attaching here as /dev/xvdbz" in wait for wait in said)
    assert region.calls[:3] == ["DescribeVolumes", "DescribeInstances", f"AttachVolume {A} /dev/xvdbz"]
    assert set(region.calls[3:]) == {"DescribeVolumes"}


def test_a_second_boot_finds_the_volume_without_asking_ec2(machine, region) -> None:
    node = machine("i-1")
    held = node.attach(CLAIM)
    node.record_intent(held, volume_uuid(A))
    node.format(held, volume_uuid(A), "etcd-main")
    node.record_formatted(held, volume_uuid(A))
    region.calls.clear()
    again = machine("i-1")
    again._disks.halves = node._disks.halves
    assert again.held(CLAIM) == held
    evidence = again.evidence(held)
    assert isinstance(decide(evidence, volume_uuid(A), CLAIM.minimum_bytes), MountExisting)
    assert region.calls == []


def test_memory_vouches_for_no_other_file_system_than_its_own(machine, region) -> None:
    """Superblock gone: EC2 is asked what it knows, and says that this was formatted before."""
    node = machine("i-1")
    held = node.attach(CLAIM)
    node.record_formatted(held, volume_uuid(A))
    region.calls.clear()
    evidence = node.evidence(held)
    assert region.calls == [f"DescribeVolumes {A}"]
    assert decide(evidence, volume_uuid(A), CLAIM.minimum_bytes).code == "volume-superblock-lost"


def test_the_evidence_joins_what_the_machine_and_ec2_know(machine, region) -> None:
    node = machine("i-1")
    held = node.attach(CLAIM)
    uuid = volume_uuid(A)
    assert isinstance(decide(node.evidence(held), uuid, 1), Format)
    node.record_intent(held, uuid)
    assert isinstance(decide(node.evidence(held), uuid, 1), ResumeFormat)
    node.format(held, uuid, "etcd-main")
    assert isinstance(decide(node.evidence(held), uuid, 1), RecordFormatted)
    node.record_formatted(held, uuid)
    assert isinstance(decide(node.evidence(held), uuid, 1), MountExisting)
    region.volumes[A].formatted, region.volumes[A].created_from = None, "snap-1"
    node._disks.halves.clear()
    assert decide(node.evidence(held), uuid, 1).code == "volume-not-created-blank"


def test_what_another_instance_formatted_is_remembered_after_one_look(machine, region) -> None:
    region.volumes[A].formatted = volume_uuid(A)
    node = machine("i-1")
    held = node.attach(CLAIM)
    node._disks.halves[A] = formatted_half(volume_uuid(A))
    node.evidence(held)
    region.calls.clear()
    node.evidence(held)
    assert region.calls == []


def test_the_loser_of_a_race_takes_the_next_volume(machine, region) -> None:
    region.refuse = [("VolumeInUse", "vol is already attached to an instance")]
    loser = machine("i-1")
    original = loser._ec2.attach

    def overtaken(volume_id: str, device_name: str) -> None:
        if region.refuse:
            region.volumes[A].holder = "i-2"
        original(volume_id, device_name)

    loser._ec2.attach = overtaken
    assert loser.attach(CLAIM).volume_id == B


def test_a_terminated_holder_is_waited_for_by_name(machine, region, said) -> None:
    region.volumes[A].holder = region.volumes[B].holder = "i-2"
    region.instances["i-2"] = "terminated"
    region.detach_seconds = 20
    assert machine("i-1").attach(CLAIM).volume_id == A
    assert any("i-2 (terminated)" in wait for wait in said)


def test_a_running_holder_is_never_robbed(machine, region, clock) -> None:
    region.volumes[A].holder = region.volumes[B].holder = "i-2"
    with pytest.raises(Retryable) as caught:
        machine("i-1").attach(CLAIM)
    assert caught.value.code == "volume-held"
    assert "i-2 (running)" in caught.value.message
    assert clock.now == pytest.approx(300)
    assert not any("Detach" in call or "Attach" in call for call in region.calls)


def test_a_taken_device_name_leads_to_the_next_one(machine, region) -> None:
    taken = ("InvalidParameterValue", "Invalid value '/dev/xvdbz' for unixDevice. Attachment point is already in use")
    region.refuse = [taken, taken]
    held = machine("i-1").attach(CLAIM)
    assert region.volumes[held.volume_id].device_name == "/dev/xvdbx"


def test_a_device_name_is_not_used_again_by_a_later_run(machine, region) -> None:
    machine("i-1").attach(CLAIM)
    machine("i-1")._ec2.detach_own(A)
    region.detach_seconds = 0
    region.volumes[A].detaching_until = 0
    machine("i-1").attach(CLAIM)
    assert [call for call in region.calls if call.startswith("Attach")] == [
        f"AttachVolume {A} /dev/xvdbz",
        f"AttachVolume {A} /dev/xvdby",
    ]


def test_when_every_name_was_used_the_oldest_comes_round_again(machine, region, tmp_path) -> None:
    memory = VolumeMemory(tmp_path / "i-1")
    memory.write(
        Memory(cluster="demo", etcd="main", volume_id=A, member="a", device_names=DEVICE_NAMES[5:] + DEVICE_NAMES[:5])
    )
    machine("i-1").attach(CLAIM)
    assert region.volumes[A].device_name == DEVICE_NAMES[5]


def test_an_attachment_that_hangs_is_ended_and_begun_anew_under_another_name(machine, region, said, clock) -> None:
    region.spoilt = {"/dev/xvdbz"}
    held = machine("i-1").attach(CLAIM)
    assert held.volume_id == A
    assert region.volumes[A].device_name == "/dev/xvdby"
    assert region.calls.count(f"DetachVolume {A}") == 1
    assert any("attaching here for 90 s" in wait for wait in said)
    assert 90 <= clock.now < 110


def test_the_attachment_of_another_machine_is_never_ended_even_if_it_hangs(machine, region, clock) -> None:
    region.attach_seconds = 10_000
    region.volumes[A].holder = region.volumes[B].holder = "i-2"
    with pytest.raises(Retryable):
        machine("i-1").attach(CLAIM)
    assert clock.now > 90
    assert not any(call.startswith("Detach") for call in region.calls)


def test_a_record_of_format_that_was_not_finished_is_not_remembered_as_finished(machine, region) -> None:
    """Power was cut between both tags: the intent must still be dropped, so EC2 is asked until it is."""
    node = machine("i-1")
    held = node.attach(CLAIM)
    uuid = region.volumes[A].formatted = region.volumes[A].intent = volume_uuid(A)
    node._disks.halves[A] = formatted_half(uuid)
    for _ in range(2):
        assert isinstance(decide(node.evidence(held), uuid, 1), RecordFormatted)


def test_an_attachment_left_by_a_crash_is_taken_over(machine, region, tmp_path) -> None:
    """AttachVolume went through, and the machine lost its memory."""
    machine("i-1").attach(CLAIM)
    (tmp_path / "i-1" / "main.json").unlink()
    region.calls.clear()
    node = machine("i-1")
    assert node.held(CLAIM) is None
    assert node.attach(CLAIM).volume_id == A
    assert not any(call.startswith("Attach") for call in region.calls)
    assert node.held(CLAIM) is not None


@pytest.mark.parametrize("content", ["", "{}", "[]", "\xff", '{"cluster": 1}'])
def test_a_damaged_memory_is_as_good_as_none(machine, tmp_path, content) -> None:
    machine("i-1").attach(CLAIM)
    (tmp_path / "i-1" / "main.json").write_text(content)
    assert machine("i-1").held(CLAIM) is None
    assert machine("i-1").attach(CLAIM).volume_id == A


def test_another_clusters_memory_is_not_believed(machine) -> None:
    machine("i-1").attach(CLAIM)
    other = VolumeClaim("other", "main", CLAIM.members, CLAIM.candidates, 1)
    elsewhere = VolumeClaim("demo", "main", CLAIM.members, ("c",), 1)
    assert machine("i-1").held(other) is None
    assert machine("i-1").held(elsewhere) is None


@pytest.mark.parametrize(
    ("refusal", "kind", "code"),
    [
        (("InvalidVolume.ZoneMismatch", "not in the same zone"), Refused, "volume-wrong-zone"),
        (("AttachmentLimitExceeded", "limit is 28"), Fatal, "volume-attachment-limit"),
        (("OperationNotPermitted", "no"), Fatal, "ec2-unexpected"),
    ],
)
def test_what_waiting_would_not_mend_ends_at_once(machine, region, clock, refusal, kind, code) -> None:
    region.refuse = [refusal]
    with pytest.raises(kind) as caught:
        machine("i-1").attach(CLAIM)
    assert caught.value.code == code
    assert clock.now < 5


@pytest.mark.parametrize(
    "code", ["IncorrectState", "RequestLimitExceeded", "InvalidVolume.NotFound", "UnauthorizedOperation"]
)
def test_what_may_pass_is_tried_again(machine, region, said, code) -> None:
    region.refuse = [(code, "for the moment")]
    assert machine("i-1").attach(CLAIM).volume_id == A
    assert any("for the moment" in wait for wait in said)


@pytest.mark.parametrize(("code", "seconds"), [("RequestLimitExceeded", 10), ("UnauthorizedOperation", 60)])
def test_a_throttle_and_a_denial_are_left_alone_for_as_long_as_their_table_says(
    machine, region, clock, code, seconds
) -> None:
    region.refuse = [(code, "for the moment")]
    assert machine("i-1").attach(CLAIM).volume_id == A
    assert max(clock.sleeps) >= seconds


def test_a_tag_that_does_not_fit_the_manifest_is_refused(machine, region) -> None:
    region.volumes = {A: VolumeDouble("a/a,b")}
    with pytest.raises(BootwrightError) as caught:
        machine("i-1").attach(CLAIM)
    assert (caught.value.code, caught.value.exit_code) == ("volume-tag-mismatch", 3)


@pytest.mark.root
def test_a_real_disk_is_formatted_once_and_found_again(make_disk, region, waits, tmp_path) -> None:
    disk = make_disk(64 * 1024**2)
    region.volumes = {disk.volume_id: VolumeDouble("a/a,b,c")}
    claim = VolumeClaim("demo", "main", CLAIM.members, ("a",), 1024**2)

    def boot() -> NodeVolumes:
        return NodeVolumes(
            Ec2Double(region, "i-1"),
            disk.disks,
            zone="eu-west-1a",
            instance_id="i-1",
            waits=waits,
            memory=VolumeMemory(tmp_path / "memory"),
        )

    node = boot()
    held = node.attach(claim)
    uuid = volume_uuid(held.volume_id)
    assert isinstance(decide(node.evidence(held), uuid, claim.minimum_bytes), Format)
    node.record_intent(held, uuid)
    node.format(held, uuid, "etcd-main")
    node.record_formatted(held, uuid)
    region.calls.clear()
    again = boot()
    assert again.held(claim) == held
    assert isinstance(decide(again.evidence(held), uuid, claim.minimum_bytes), MountExisting)
    again.repair(held)
    assert region.calls == []


def test_memory_is_private(machine, tmp_path) -> None:
    machine("i-1").attach(CLAIM)
    path: Path = tmp_path / "i-1" / "main.json"
    assert path.stat().st_mode & 0o777 == 0o600


def test_at_every_boot_the_device_is_made_patient_before_anything_uses_it(machine, region) -> None:
    """queue/io_timeout is the kernel's and forgotten with it: a boot that remembers its volume sets it, too."""
    machine("i-1").attach(CLAIM)
    node = machine("i-1")
    held = node.held(CLAIM)
    assert held is not None
    node.repair(held)
    assert node._disks.done == [f"patient {held.device}", f"fsck {held.device}"]
