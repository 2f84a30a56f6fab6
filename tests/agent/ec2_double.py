"""EC2's volumes as a state machine, for what moto gets wrong (etcd-pki.md 1.2): attaching takes time and may hang,
AttachVolume is a lock, a device name clashes or is spoilt, a terminated holder lets go after a while.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from agent.aws.ec2 import explain
from agent.aws.volumes import VolumeRecord
from units.host import VolumeClaim
from units.volumes import CandidateVolume, VolumeAttachment


@dataclass
class VolumeDouble:
    tag: str
    zone: str = "eu-west-1a"
    holder: str | None = None
    since: float = 0.0
    device_name: str = ""
    detaching_until: float | None = None
    created_from: str | None = None
    intent: str | None = None
    formatted: str | None = None


@dataclass
class RegionDouble:
    monotonic: Callable[[], float]
    volumes: dict[str, VolumeDouble] = field(default_factory=dict)
    instances: dict[str, str] = field(default_factory=dict)  # id -> state
    attach_seconds: float = 3.0
    detach_seconds: float = 2.0
    spoilt: set[str] = field(default_factory=set)  # device names that leave a volume attaching for ever
    refuse: list[tuple[str, str]] = field(default_factory=list)  # (code, message) for the next AttachVolume calls
    calls: list[str] = field(default_factory=list)

    def settle(self) -> None:
        now = self.monotonic()
        for volume in self.volumes.values():
            if volume.detaching_until is not None and now >= volume.detaching_until:
                volume.holder, volume.detaching_until = None, None
            if volume.holder and self.instances.get(volume.holder) == "terminated" and volume.detaching_until is None:
                volume.detaching_until = now + self.detach_seconds

    def attachment_state(self, volume: VolumeDouble) -> str:
        if volume.detaching_until is not None:
            return "detaching"
        done = self.monotonic() - volume.since >= self.attach_seconds and volume.device_name not in self.spoilt
        return "attached" if done else "attaching"


@dataclass
class Ec2Double:
    """One instance's view, with the methods of `agent.aws.volumes.Ec2Volumes`."""

    region: RegionDouble
    instance_id: str

    def candidates(self, claim: VolumeClaim) -> tuple[CandidateVolume, ...]:
        self._called("DescribeVolumes")
        return tuple(self._describe(volume_id, volume) for volume_id, volume in self.region.volumes.items())

    def device_names_in_use(self) -> frozenset[str]:
        self._called("DescribeInstances")
        return self._names_in_use()

    def _names_in_use(self) -> frozenset[str]:
        own = {volume.device_name for volume in self.region.volumes.values() if volume.holder == self.instance_id}
        return frozenset(own | {"/dev/xvda"})

    def attach(self, volume_id: str, device_name: str) -> None:
        self._called(f"AttachVolume {volume_id} {device_name}")
        volume = self.region.volumes[volume_id]
        if self.region.refuse:
            raise self._error(*self.region.refuse.pop(0))
        if volume.holder is not None:
            raise self._error("VolumeInUse", f"{volume_id} is already attached to an instance")
        if device_name in self._names_in_use():
            raise self._error("InvalidParameterValue", f"Attachment point {device_name} is already in use")
        volume.holder, volume.since, volume.device_name = self.instance_id, self.region.monotonic(), device_name

    def detach_own(self, volume_id: str) -> None:
        self._called(f"DetachVolume {volume_id}")
        volume = self.region.volumes[volume_id]
        assert volume.holder == self.instance_id, "only an own attachment is ever ended"
        volume.detaching_until = self.region.monotonic() + self.region.detach_seconds

    def record(self, volume_id: str) -> VolumeRecord:
        self._called(f"DescribeVolumes {volume_id}")
        volume = self.region.volumes[volume_id]
        return VolumeRecord(volume.created_from, volume.intent, volume.formatted)

    def record_intent(self, volume_id: str, uuid: str) -> None:
        self._called(f"CreateTags {volume_id} intent")
        self.region.volumes[volume_id].intent = uuid

    def record_formatted(self, volume_id: str, uuid: str) -> None:
        self._called(f"CreateTags {volume_id} formatted")
        volume = self.region.volumes[volume_id]
        volume.formatted, volume.intent = uuid, None

    def _describe(self, volume_id: str, volume: VolumeDouble) -> CandidateVolume:
        attachments = ()
        if volume.holder is not None:
            state = self.region.attachment_state(volume)
            holder = self.region.instances.get(volume.holder)
            attachments = (VolumeAttachment(volume.holder, state, holder),)
        in_use = "in-use" if attachments else "available"
        return CandidateVolume(volume_id, volume.zone, in_use, volume.tag, attachments)

    def _called(self, call: str) -> None:
        self.region.settle()
        self.region.calls.append(call)

    @staticmethod
    def _error(code: str, said: str) -> Exception:
        return explain(code, said, "ec2:AttachVolume", "vol", "role demo")
