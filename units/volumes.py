"""Which etcd volume a machine takes, and what may be done to it. Every rule is etcd-pki.md 1.2 and 1.3.

mkfs is chosen in two cases only: the volume is proven blank, or a format of ours was interrupted and recorded.
Everything that is not understood is refused, with a code of its own.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from units.errors import Refused
from units.evidence import DeviceEvidence
from units.volume_choice import Attach, CandidateVolume, Choice, Refuse, Use, VolumeAttachment, Wait, choose

__all__ = [
    "Attach",
    "CandidateVolume",
    "Choice",
    "Decision",
    "Format",
    "Marker",
    "MountExisting",
    "RecordFormatted",
    "Refuse",
    "ResumeFormat",
    "Use",
    "VolumeAttachment",
    "Wait",
    "choose",
    "decide",
    "volume_uuid",
]

# uuid5 of a fixed name space: every machine computes the same file system UUID for a volume, without asking anybody.
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "volumes.bootwright.io")
_BLKID_FOUND, _BLKID_NOTHING, _BLKID_AMBIVALENT = 0, 2, 8
_MARKER_BYTES = 4096


def volume_uuid(volume_id: str) -> str:
    """The UUID that our file system on this EBS volume has, and no other file system."""
    return str(uuid.uuid5(_NAMESPACE, volume_id))


@dataclass(frozen=True, slots=True)
class MountExisting:
    """Our file system, complete and on record."""


@dataclass(frozen=True, slots=True)
class Format:
    """Proven blank: record the intent, then mkfs, then record that it is formatted."""


@dataclass(frozen=True, slots=True)
class ResumeFormat:
    """The intent is on record and mkfs did not finish: only we wrote, so run it again."""


@dataclass(frozen=True, slots=True)
class RecordFormatted:
    """mkfs finished, its record did not: write the record and drop the intent, then mount."""


Decision = MountExisting | Format | ResumeFormat | RecordFormatted | Refuse


def decide(evidence: DeviceEvidence, expected_uuid: str, minimum_bytes: int) -> Decision:
    """What may be done to an attached volume that is not mounted yet."""
    if refusal := _unsafe_to_touch(evidence):
        return refusal
    if evidence.partition_table is not None:
        return Refuse(
            "volume-partitioned",
            f"{evidence.volume_id} has a {evidence.partition_table} partition table; etcd volumes have none",
            "this is somebody else's disk: check the volume's tags in EC2",
        )
    if evidence.blkid_exit == _BLKID_FOUND:
        return _decide_found(evidence, expected_uuid)
    if evidence.blkid_exit == _BLKID_NOTHING:
        return _decide_unrecognised(evidence, expected_uuid, minimum_bytes)
    if evidence.blkid_exit == _BLKID_AMBIVALENT:
        return Refuse(
            "volume-ambivalent",
            f"{evidence.volume_id} carries several signatures at once: {_named(evidence.signatures)}",
            "look with `wipefs -n`; erase the stray signature only if you know which one is right",
        )
    return Refuse(
        "volume-probe-failed",
        f"blkid ended with {evidence.blkid_exit} on {evidence.volume_id}; 0, 2 and 8 are known answers",
        "run `blkid -p` on the device by hand and look at dmesg for I/O errors",
    )


def _unsafe_to_touch(evidence: DeviceEvidence) -> Refuse | None:
    volume = evidence.volume_id
    if not evidence.is_block_device or evidence.size_bytes <= 0:
        return Refuse(
            "volume-not-a-block-device",
            f"what stands for {volume} is no block device, or is empty ({evidence.size_bytes} bytes)",
            "look at /sys/block and `lsblk -o NAME,SERIAL,SIZE`",
        )
    if not evidence.serial_matches:
        return Refuse(
            "volume-serial-mismatch",
            f"the opened device does not have the serial number of {volume}: devices moved while we looked",
            "nothing to do but try again; if it stays, detach the volume and attach it once more",
        )
    if evidence.mounted_at is not None:
        return Refuse(
            "volume-mounted-elsewhere",
            f"{volume} is already mounted at {evidence.mounted_at}",
            "unmount it there: bootwright mounts etcd volumes itself",
        )
    if not evidence.exclusive:
        return Refuse(
            "volume-claimed",
            f"{volume} is held by something on this machine: LVM, RAID, a loop device, or an mkfs that still runs",
            "find the holder with `lsblk` and `fuser -v`",
        )
    return None


def _decide_found(evidence: DeviceEvidence, expected_uuid: str) -> Decision:
    volume = evidence.volume_id
    if evidence.fstype != "ext4":
        return Refuse(
            "volume-foreign-file-system",
            f"{volume} holds {evidence.fstype or 'something'} ({_named(evidence.signatures)}); ours is ext4",
            "this volume has data of somebody else: check its tags in EC2",
        )
    if evidence.fs_uuid != expected_uuid:
        return Refuse(
            "volume-foreign-uuid",
            f"{volume} holds an ext4 file system {evidence.fs_uuid}; the one we would have made is {expected_uuid}",
            "it was formatted by other hands or copied from another volume: restore etcd from a backup instead",
        )
    if strays := [name for name in evidence.signatures if _kind(name) != "ext4"]:
        return Refuse(
            "volume-overwritten",
            f"{volume} holds our file system, but also {_named(strays)}: something wrote over it",
            "look with `wipefs -n` and `e2fsck -n`; erase the stray signature only if the file system is whole",
        )
    if wrong := _foreign_record(evidence, expected_uuid):
        return wrong
    if evidence.formatted_uuid is None or evidence.intent_uuid is not None:
        return RecordFormatted()
    return MountExisting()


def _decide_unrecognised(evidence: DeviceEvidence, expected_uuid: str, minimum_bytes: int) -> Decision:
    """Nothing is recognised: also true of a recoverable file system whose first superblock is gone."""
    if refusal := next(_never_formatted(evidence, expected_uuid, minimum_bytes), None):
        return refusal
    if evidence.intent_uuid is not None:
        return ResumeFormat()
    if not evidence.samples_zero or evidence.data_at is not None:
        where = "somewhere" if evidence.data_at is None else f"at byte {evidence.data_at}"
        return Refuse(
            "volume-not-blank",
            f"{evidence.volume_id} has no file system that we know, but it is not empty: {where} it is not zero",
            "look at it (`hexdump -C -s BYTE -n 4096`, `e2fsck -n -b 32768`); a volume that may be lost is best "
            "created anew",
        )
    return Format()


def _never_formatted(evidence: DeviceEvidence, expected_uuid: str, minimum_bytes: int) -> Iterator[Refuse]:
    """Every reason not to run mkfs, whether blank or after an intent."""
    volume = evidence.volume_id
    if evidence.signatures or evidence.fstype is not None or evidence.fs_uuid is not None:
        yield Refuse(
            "volume-has-signatures",
            f"blkid recognises nothing on {volume}, yet there is {_named(evidence.signatures) or evidence.fstype}",
            "look with `wipefs -n`",
        )
    if wrong := _foreign_record(evidence, expected_uuid):
        yield wrong
    if evidence.formatted_uuid is not None:
        yield Refuse(
            "volume-superblock-lost",
            f"{volume} was formatted by us (tag bootwright.io/formatted), but no file system is recognised now",
            "its data is likely whole: snapshot the volume, then `e2fsck -b 32768`; or replace the member",
        )
    if evidence.created_from is not None:
        yield Refuse(
            "volume-not-created-blank",
            f"{volume} was made from {evidence.created_from}, but no file system is recognised on it",
            "a copy with data is never formatted: check the snapshot, or create an empty volume",
        )
    if evidence.size_bytes < minimum_bytes:
        yield Refuse(
            "volume-too-small",
            f"{volume} has {evidence.size_bytes} bytes; the manifest asks for at least {minimum_bytes}",
            "grow the volume (`aws ec2 modify-volume`), or lower etcd.volume.size_gib",
        )


def _foreign_record(evidence: DeviceEvidence, expected_uuid: str) -> Refuse | None:
    for tag, found in (("format-intent", evidence.intent_uuid), ("formatted", evidence.formatted_uuid)):
        if found is not None and found != expected_uuid:
            return Refuse(
                "volume-record-mismatch",
                f"{evidence.volume_id} has the tag bootwright.io/{tag} = {found}; ours would be {expected_uuid}",
                "the tag was copied from another volume, or edited: find out whose data this is before removing it",
            )
    return None


def _named(signatures: Sequence[str]) -> str:
    return ", ".join(signatures)


def _kind(signature: str) -> str:
    """`ext4` of `ext4@0x438`."""
    return signature.partition("@")[0]


class Marker(BaseModel):
    """`.etcd-volume.json` on the file system: whose data this is. Written once, checked before every use."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    cluster: str
    etcd: str
    member: str
    volume_id: str = Field(alias="volumeId")
    created: AwareDatetime
    generation: int | None = None

    def encode(self) -> bytes:
        return (self.model_dump_json(by_alias=True, exclude_none=True, indent=1) + "\n").encode()

    @classmethod
    def decode(cls, content: bytes) -> "Marker":
        """Refused for anything that is not a marker: then nobody knows whose data it is."""
        try:
            return cls.model_validate_json(content[:_MARKER_BYTES])
        except ValidationError as error:
            raise Refused(
                "etcd-marker-unreadable",
                f".etcd-volume.json on the etcd volume is not a marker: {content[:200]!r}",
                remedy="compare it with another member's; correct it by hand only if you know whose data this is",
            ) from error

    def check(self, *, cluster: str, etcd: str, member: str, volume_id: str) -> None:
        """Refused, with every difference, if this is not the data that belongs here."""
        expected = {"cluster": cluster, "etcd": etcd, "member": member, "volume_id": volume_id}
        wrong = [
            f"{name} is {getattr(self, name)!r}, should be {value!r}"
            for name, value in expected.items()
            if getattr(self, name) != value
        ]
        if wrong:
            raise Refused(
                "etcd-marker-mismatch",
                f"the data on {volume_id} belongs elsewhere: {'; '.join(wrong)}",
                remedy="a volume made from a snapshot keeps the old marker: restore etcd from a backup instead "
                "(`coordinator etcd restore`); otherwise check the volume's tags",
            )
