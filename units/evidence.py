"""What was seen on a block device and in EC2 before anybody decides to format or mount it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceEvidence:
    """Facts for `units.volumes.decide`; field by field the protocol of reference/etcd-pki.md 1.3.

    Blank proof is more than blkid: with the primary superblock zeroed, or after any failed open, `blkid -p` says
    "nothing here" (exit 2) over a recoverable file system.
    """

    volume_id: str
    serial_matches: bool  # read again from sysfs after the device was opened
    is_block_device: bool
    size_bytes: int
    mounted_at: str | None  # by major:minor in mountinfo
    exclusive: bool  # open(O_EXCL) succeeded: nobody else claims it
    blkid_exit: int  # 0 found, 2 nothing, 8 ambivalent
    fstype: str | None
    fs_uuid: str | None
    partition_table: str | None
    signatures: tuple[str, ...]  # wipefs -n: every magic string found
    samples_zero: bool  # all that `units.blank_proof` looks at
    created_from: str | None  # SnapshotId or SourceVolumeId in EC2; None for a volume that was made blank
    intent_uuid: str | None  # tag bootwright.io/format-intent
    formatted_uuid: str | None  # tag bootwright.io/formatted
    data_at: int | None = None  # the offset of what is not zero
