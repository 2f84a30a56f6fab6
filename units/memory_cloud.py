"""What outlives a machine, in memory: the EBS volumes it attaches and the small shared objects in S3."""

import hashlib
from dataclasses import dataclass, field

from units.errors import Fatal
from units.evidence import DeviceEvidence
from units.host import FileState, HeldVolume, Record, VolumeClaim


@dataclass
class MemoryVolumes:
    """One blank volume per claim, waiting to be attached. `attached` is the machine's; the rest is the volumes' own,
    so that a second machine made with `dataclasses.replace(volumes, attached={})` takes over what the first one left.
    """

    attached: dict[str, HeldVolume] = field(default_factory=dict)  # etcd cluster -> volume
    formatted: dict[str, str] = field(default_factory=dict)  # volume id -> uuid
    recorded: dict[str, str] = field(default_factory=dict)
    intents: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    contents: dict[str, dict[str, FileState]] = field(default_factory=dict)  # volume id -> path inside -> what is there
    formats: list[str] = field(default_factory=list)  # every mkfs, in order
    grown: dict[str, int] = field(default_factory=dict)  # volume id -> size of its file system
    torn: set[str] = field(default_factory=set)  # an mkfs began and did not end

    def held(self, claim: VolumeClaim) -> HeldVolume | None:
        return self.attached.get(claim.etcd)

    def attach(self, claim: VolumeClaim) -> HeldVolume:
        member = claim.candidates[0]
        volume_id = f"vol-{hashlib.sha256(f'{claim.etcd}/{member}'.encode()).hexdigest()[:17]}"
        held = HeldVolume(volume_id, member, f"/dev/memory-{claim.etcd}")
        self.sizes.setdefault(volume_id, claim.minimum_bytes)
        self.attached[claim.etcd] = held
        return held

    def evidence(self, volume: HeldVolume) -> DeviceEvidence:
        uuid = self.formatted.get(volume.volume_id)
        return DeviceEvidence(
            volume_id=volume.volume_id,
            serial_matches=True,
            is_block_device=True,
            size_bytes=self.sizes[volume.volume_id],
            mounted_at=None,
            exclusive=True,
            blkid_exit=0 if uuid else 2,
            fstype="ext4" if uuid else None,
            fs_uuid=uuid,
            partition_table=None,
            signatures=("ext4",) if uuid else (),
            samples_zero=uuid is None and volume.volume_id not in self.torn,
            created_from=None,
            intent_uuid=self.intents.get(volume.volume_id),
            formatted_uuid=self.recorded.get(volume.volume_id),
        )

    def record_intent(self, volume: HeldVolume, uuid: str) -> None:
        self.intents[volume.volume_id] = uuid

    def format(self, volume: HeldVolume, uuid: str, label: str) -> None:
        del label
        self.formats.append(volume.volume_id)
        self.torn.discard(volume.volume_id)
        self.formatted[volume.volume_id] = uuid
        self.contents[volume.volume_id] = {
            "/": FileState("directory", 0o755, "root", "root"),
            "/lost+found": FileState("directory", 0o700, "root", "root"),
        }

    def record_formatted(self, volume: HeldVolume, uuid: str) -> None:
        self.recorded[volume.volume_id] = uuid
        self.intents.pop(volume.volume_id, None)

    def repair(self, volume: HeldVolume) -> None:
        if volume.volume_id not in self.formatted:
            raise Fatal("not-formatted", f"{volume.volume_id} has no file system")

    def outgrown(self, volume: HeldVolume) -> bool:
        return self.sizes[volume.volume_id] > self.grown.get(volume.volume_id, self.sizes[volume.volume_id])

    def grow(self, volume: HeldVolume) -> None:
        self.grown[volume.volume_id] = self.sizes[volume.volume_id]

    def file_system(self, device: str) -> dict[str, FileState]:
        """The content of the attached volume behind a device. Fatal if there is nothing to mount."""
        for held in self.attached.values():
            if held.device == device and held.volume_id in self.contents:
                return self.contents[held.volume_id]
        raise Fatal("mount-failed", f"{device}: no file system in memory")


@dataclass
class MemoryRecords:
    objects: dict[str, Record] = field(default_factory=dict)

    def get(self, key: str) -> Record | None:
        return self.objects.get(key)

    def create(self, key: str, content: bytes) -> bool:
        if key in self.objects:
            return False
        self.objects[key] = Record(content, hashlib.sha256(content).hexdigest())
        return True

    def replace(self, key: str, content: bytes, etag: str) -> bool:
        found = self.objects.get(key)
        if found is None or found.etag != etag:
            return False
        self.objects[key] = Record(content, hashlib.sha256(content).hexdigest())
        return True
