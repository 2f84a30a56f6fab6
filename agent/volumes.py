"""A member's volume on this machine: EC2's half (agent.aws.volumes) and the kernel's (agent.linux.disks) put together.

A second boot finds the remembered serial number in sysfs and our file system on the device, and asks EC2 nothing.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Protocol, TypeVar

from agent.attaching import Attaching, AttachingEc2
from agent.aws.volumes import VolumeRecord
from agent.linux.device import DeviceHalf
from agent.volume_memory import Memory, VolumeMemory
from agent.waits import Waits
from units.evidence import DeviceEvidence
from units.host import HeldVolume, VolumeClaim
from units.volumes import Use

Result = TypeVar("Result")

ATTACH_LIMIT = 300.0  # seconds; then the boot ends with "retry later" and systemd starts it again
EC2_LIMIT = 60.0  # seconds for a single call to come through
DEVICE_LIMIT = 60.0  # seconds from `attached` until the kernel must show the disk


class Ec2(AttachingEc2, Protocol):
    """`agent.aws.volumes.Ec2Volumes`."""

    def record(self, volume_id: str) -> VolumeRecord: ...

    def record_intent(self, volume_id: str, uuid: str) -> None: ...

    def record_formatted(self, volume_id: str, uuid: str) -> None: ...


class DiskPort(Protocol):
    """`agent.linux.disks.Disks`."""

    def find(self, volume_id: str) -> str | None: ...

    def wait_for(self, volume_id: str, deadline: float) -> str: ...

    def device_evidence(self, volume_id: str, device: str) -> DeviceHalf: ...

    def make_ext4(self, volume_id: str, device: str, uuid: str, label: str) -> None: ...

    def fsck(self, device: str) -> None: ...

    def outgrown(self, device: str) -> bool: ...

    def grow(self, device: str) -> None: ...

    def make_patient(self, device: str) -> None: ...


class NodeVolumes:
    """Implements `units.host.Volumes` for one machine."""

    def __init__(
        self,
        ec2: Ec2,
        disks: DiskPort,
        *,
        zone: str,
        instance_id: str,
        waits: Waits | None = None,
        memory: VolumeMemory | None = None,
    ) -> None:
        self._ec2 = ec2
        self._disks = disks
        self._zone = zone
        self._instance_id = instance_id
        self._waits = waits or Waits()
        self._memory = memory or VolumeMemory()

    def held(self, claim: VolumeClaim) -> HeldVolume | None:
        """From memory and sysfs alone: this machine writes down what it takes before it takes it."""
        memory = self._memory.of_etcd(claim.etcd)
        if memory is None or memory.cluster != claim.cluster or memory.member not in claim.candidates:
            return None
        device = self._disks.find(memory.volume_id)
        return None if device is None else HeldVolume(memory.volume_id, memory.member, device)

    def attach(self, claim: VolumeClaim) -> HeldVolume:
        attaching = Attaching(self._ec2, self._memory, claim, self._zone, self._instance_id, self._waits.monotonic)
        chosen = self._waits.until(
            f"waiting for the volume of etcd {claim.etcd}",
            attaching.advance,
            limit=ATTACH_LIMIT,
            pause=1.0,
            longest=2.0,
        )
        self._remember(claim, chosen)
        volume_id = chosen.volume.volume_id
        device = self._disks.wait_for(volume_id, self._waits.monotonic() + DEVICE_LIMIT)
        return HeldVolume(volume_id, chosen.member, device)

    def evidence(self, volume: HeldVolume) -> DeviceEvidence:
        half = self._disks.device_evidence(volume.volume_id, volume.device)
        record = self._remembered_record(volume.volume_id, half) or self._patiently(
            f"asking EC2 about {volume.volume_id}", lambda: self._ec2.record(volume.volume_id)
        )
        if record.formatted_uuid is not None and record.intent_uuid is None:
            self._memory.note_formatted(volume.volume_id, record.formatted_uuid)
        return DeviceEvidence(
            volume_id=volume.volume_id,
            created_from=record.created_from,
            intent_uuid=record.intent_uuid,
            formatted_uuid=record.formatted_uuid,
            **asdict(half),
        )

    def record_intent(self, volume: HeldVolume, uuid: str) -> None:
        self._patiently(
            f"recording the intent to format {volume.volume_id}",
            lambda: self._ec2.record_intent(volume.volume_id, uuid),
        )

    def format(self, volume: HeldVolume, uuid: str, label: str) -> None:
        self._disks.make_ext4(volume.volume_id, volume.device, uuid, label)

    def record_formatted(self, volume: HeldVolume, uuid: str) -> None:
        self._patiently(
            f"recording that {volume.volume_id} is formatted",
            lambda: self._ec2.record_formatted(volume.volume_id, uuid),
        )
        self._memory.note_formatted(volume.volume_id, uuid)

    def repair(self, volume: HeldVolume) -> None:
        self._disks.make_patient(volume.device)  # at every boot: a setting of the kernel's, which forgets it
        self._disks.fsck(volume.device)

    def outgrown(self, volume: HeldVolume) -> bool:
        return self._disks.outgrown(volume.device)

    def grow(self, volume: HeldVolume) -> None:
        self._disks.grow(volume.device)

    def _patiently(self, name: str, call: Callable[[], Result]) -> Result:
        return self._waits.until(name, call, limit=EC2_LIMIT, pause=1.0)

    def _remembered_record(self, volume_id: str, half: DeviceHalf) -> VolumeRecord | None:
        """Memory vouches only for a file system that is there; over anything else EC2 is asked what it knows."""
        memory = self._memory.of_volume(volume_id)
        if memory is None or memory.formatted_uuid is None or half.fs_uuid != memory.formatted_uuid:
            return None
        return VolumeRecord(created_from=None, intent_uuid=None, formatted_uuid=memory.formatted_uuid)

    def _remember(self, claim: VolumeClaim, chosen: Use) -> None:
        """Again after the fact: a crashed predecessor's attachment is found by EC2, not by this machine's memory."""
        volume_id, known = chosen.volume.volume_id, self._memory.of_etcd(claim.etcd)
        if known is None or (known.volume_id, known.cluster) != (volume_id, claim.cluster):
            names = known.device_names if known else ()
            self._memory.write(
                Memory(
                    cluster=claim.cluster,
                    etcd=claim.etcd,
                    volume_id=volume_id,
                    member=chosen.member,
                    device_names=names,
                )
            )
