"""What may be done to a volume: the whole space of evidence, not a sample of it."""

import itertools
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from units.errors import Refused
from units.evidence import DeviceEvidence
from units.volumes import Format, Marker, MountExisting, RecordFormatted, Refuse, ResumeFormat, decide, volume_uuid

VOLUME = "vol-0123456789abcdef0"
OURS = volume_uuid(VOLUME)
OTHER = "11111111-2222-3333-8444-555555555555"
ENOUGH = 20 * 1024**3

BLANK = DeviceEvidence(
    volume_id=VOLUME,
    serial_matches=True,
    is_block_device=True,
    size_bytes=ENOUGH,
    mounted_at=None,
    exclusive=True,
    blkid_exit=2,
    fstype=None,
    fs_uuid=None,
    partition_table=None,
    signatures=(),
    samples_zero=True,
    created_from=None,
    intent_uuid=None,
    formatted_uuid=None,
)
FORMATTED = replace(
    BLANK,
    blkid_exit=0,
    fstype="ext4",
    fs_uuid=OURS,
    signatures=("ext4@0x438",),
    samples_zero=False,
    formatted_uuid=OURS,
)

SPACE: dict[str, tuple[object, ...]] = {
    "volume_id": (VOLUME,),
    "serial_matches": (True, False),
    "is_block_device": (True, False),
    "size_bytes": (0, ENOUGH - 1, ENOUGH),
    "mounted_at": (None, "/mnt"),
    "exclusive": (True, False),
    "blkid_exit": (0, 2, 8, 4),
    "fstype": (None, "ext4", "xfs"),
    "fs_uuid": (None, OURS, OTHER),
    "partition_table": (None, "gpt"),
    "signatures": ((), ("ext4@0x438",), ("ext4@0x438", "xfs@0x0")),
    "samples_zero": (True, False),
    "created_from": (None, "snap-1"),
    "intent_uuid": (None, OURS, OTHER),
    "formatted_uuid": (None, OURS, OTHER),
    "data_at": (None, 4096),
}


def everything() -> Iterator[DeviceEvidence]:
    for values in itertools.product(*SPACE.values()):
        yield DeviceEvidence(*values)


def untouched(evidence: DeviceEvidence) -> bool:
    """Conditions 1 and 2 of the protocol: the right disk, nobody's, and nothing recognised on it."""
    return (
        evidence.serial_matches
        and evidence.is_block_device
        and evidence.size_bytes >= ENOUGH
        and evidence.mounted_at is None
        and evidence.exclusive
        and evidence.blkid_exit == 2
        and evidence.fstype is None
        and evidence.fs_uuid is None
        and evidence.partition_table is None
        and evidence.signatures == ()
        and evidence.created_from is None
        and evidence.formatted_uuid is None
    )


def test_in_the_whole_space_of_evidence_mkfs_needs_every_blank_condition() -> None:
    assert list(SPACE) == [field.name for field in fields(DeviceEvidence)]
    chosen = dict.fromkeys((Format, ResumeFormat, MountExisting, RecordFormatted, Refuse), 0)
    for evidence in everything():
        decision = decide(evidence, OURS, ENOUGH)
        chosen[type(decision)] += 1
        zero = evidence.samples_zero and evidence.data_at is None
        blank = untouched(evidence) and evidence.intent_uuid is None and zero
        resumed = untouched(evidence) and evidence.intent_uuid == OURS
        assert isinstance(decision, Format) == blank, evidence
        assert isinstance(decision, ResumeFormat) == resumed, evidence
        if isinstance(decision, MountExisting | RecordFormatted):
            assert (evidence.fstype, evidence.fs_uuid, evidence.blkid_exit) == ("ext4", OURS, 0), evidence
            assert evidence.serial_matches, evidence
            assert evidence.mounted_at is None, evidence
            assert evidence.exclusive, evidence
            assert OTHER not in (evidence.intent_uuid, evidence.formatted_uuid), evidence
    # One blank disk; a recorded intent whatever the samples say; every way in which our file system may be on record.
    assert chosen[Format] == 1
    assert chosen[ResumeFormat] == 4
    assert chosen[MountExisting] > 0
    assert chosen[RecordFormatted] > 0


@pytest.mark.parametrize(
    ("evidence", "code"),
    [
        (replace(BLANK, is_block_device=False), "volume-not-a-block-device"),
        (replace(BLANK, size_bytes=0), "volume-not-a-block-device"),
        (replace(BLANK, serial_matches=False), "volume-serial-mismatch"),
        (replace(BLANK, mounted_at="/mnt"), "volume-mounted-elsewhere"),
        (replace(BLANK, exclusive=False), "volume-claimed"),
        (replace(BLANK, partition_table="gpt"), "volume-partitioned"),
        (replace(BLANK, blkid_exit=8), "volume-ambivalent"),
        (replace(BLANK, blkid_exit=4), "volume-probe-failed"),
        (replace(BLANK, signatures=("xfs@0x0",)), "volume-has-signatures"),
        (replace(BLANK, formatted_uuid=OURS), "volume-superblock-lost"),
        (replace(BLANK, created_from="snap-1"), "volume-not-created-blank"),
        (replace(BLANK, size_bytes=ENOUGH - 1), "volume-too-small"),
        (replace(BLANK, intent_uuid=OTHER), "volume-record-mismatch"),
        (replace(BLANK, formatted_uuid=OTHER), "volume-record-mismatch"),
        (replace(BLANK, samples_zero=False), "volume-not-blank"),
        (replace(FORMATTED, fstype="xfs"), "volume-foreign-file-system"),
        (replace(FORMATTED, fstype=None), "volume-foreign-file-system"),
        (replace(FORMATTED, fs_uuid=OTHER), "volume-foreign-uuid"),
        (replace(FORMATTED, fs_uuid=None), "volume-foreign-uuid"),
        (replace(FORMATTED, signatures=("ext4@0x438", "iso9660@0x8001")), "volume-overwritten"),
        (replace(FORMATTED, formatted_uuid=OTHER), "volume-record-mismatch"),
    ],
)
def test_each_refusal_has_a_code_an_explanation_and_a_remedy(evidence: DeviceEvidence, code: str) -> None:
    decision = decide(evidence, OURS, ENOUGH)
    assert isinstance(decision, Refuse)
    assert decision.code == code
    assert VOLUME in decision.reason
    assert len(decision.remedy) > 10


def test_a_crash_between_mkfs_and_its_record_is_only_recorded() -> None:
    assert decide(replace(FORMATTED, formatted_uuid=None, intent_uuid=OURS), OURS, ENOUGH) == RecordFormatted()
    assert decide(replace(FORMATTED, formatted_uuid=None), OURS, ENOUGH) == RecordFormatted()


def test_a_crash_before_the_intent_was_dropped_records_again() -> None:
    assert decide(replace(FORMATTED, intent_uuid=OURS), OURS, ENOUGH) == RecordFormatted()


def test_data_is_mounted_even_when_the_manifest_asks_for_a_larger_volume_by_now() -> None:
    assert decide(replace(FORMATTED, size_bytes=ENOUGH // 2), OURS, ENOUGH) == MountExisting()


def test_the_uuid_of_a_volume_never_changes_between_versions() -> None:
    assert volume_uuid(VOLUME) == "2e631cee-d3e3-5d49-a446-6599f2905506"
    assert volume_uuid("vol-0123456789abcdef1") != OURS


MARKER = Marker(
    cluster="alpha", etcd="main", member="a", volume_id=VOLUME, created=datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
)
BELONGS = {"cluster": "alpha", "etcd": "main", "member": "a", "volume_id": VOLUME}


def test_a_marker_survives_the_way_through_its_file() -> None:
    assert Marker.decode(MARKER.encode()) == MARKER
    later = MARKER.model_copy(update={"generation": 2})
    assert Marker.decode(later.encode()) == later
    assert b'"volumeId": "vol-0123456789abcdef0"' in MARKER.encode()
    assert b"generation" not in MARKER.encode()


@pytest.mark.parametrize("name", BELONGS)
def test_a_marker_of_other_data_is_refused_and_says_what_differs(name: str) -> None:
    MARKER.check(**BELONGS)
    with pytest.raises(Refused, match=f"{name} is .*, should be 'elsewhere'") as refused:
        MARKER.check(**{**BELONGS, name: "elsewhere"})
    assert refused.value.code == "etcd-marker-mismatch"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        MARKER.encode()[:-3],
        MARKER.encode().replace(b'"member"', b'"remember"'),
        MARKER.encode().replace(b"{", b'{"surprise": 1,', 1),
        MARKER.encode().replace(b"+00:00", b"").replace(b"Z", b""),
        b" " * 5000 + MARKER.encode(),
    ],
)
def test_what_is_not_a_marker_is_refused(content: bytes) -> None:
    with pytest.raises(Refused) as refused:
        Marker.decode(content)
    assert refused.value.code == "etcd-marker-unreadable"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_marker_or_refused(content: bytes) -> None:
    with pytest.raises(Refused):
        Marker.decode(content)
