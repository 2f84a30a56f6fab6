"""Where a disk is looked at before it counts as blank: how much that is, and what it can miss. docs/operations.md
states these figures.
"""

import math
from itertools import pairwise
from pathlib import Path

import pytest

from units.blank_proof import BLOCK, HEAD, MIB, MOST_READS, PIECE, TAIL, landmarks, pieces, samples

GIB = 1024 * MIB
VOLUME = "vol-0123456789abcdef0"
WHOLE = 1500 * MIB  # what 12 s of gp3's 125 MiB/s reach
OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"
SIZES = [512, 4096, 65536, MIB, 3 * MIB + 512, 64 * MIB + 8192, 320 * MIB, GIB, 20 * GIB, 100 * GIB, 16 * 1024 * GIB]


@pytest.mark.parametrize("size", SIZES)
def test_every_place_is_on_the_disk_and_fit_for_direct_reading(size: int) -> None:
    beyond = samples(size, min(size, WHOLE), VOLUME)
    for offset, length in (*landmarks(size), *(pieces(size) if size < 2 * GIB else ()), *beyond):
        assert 0 <= offset < size
        assert 0 < length <= PIECE or (offset, length) == landmarks(size)[1]
        assert offset + length <= size
        assert offset % BLOCK == 0
        assert length % BLOCK == 0 or offset + length == size


@pytest.mark.parametrize("size", [size for size in SIZES if size <= GIB])
def test_the_pieces_are_the_whole_disk(size: int) -> None:
    found = list(pieces(size))
    assert sum(length for _, length in found) == size
    assert all(offset + length == following for (offset, length), (following, _) in pairwise(found))


@pytest.mark.parametrize(
    ("size", "begin", "reads"),
    [
        (20 * GIB, 0, 20_480),
        (20 * GIB, WHOLE, 18_980),
        (20 * GIB, 20 * GIB, 0),
        (32 * GIB, 0, MOST_READS),
        (100 * GIB, 0, MOST_READS),
        (100 * GIB, WHOLE, MOST_READS - 480),
        (16 * 1024 * GIB, 0, MOST_READS),
        (MIB + 4096, 0, 2),
    ],
)
def test_the_number_of_samples_is_exact_and_has_an_end(size: int, begin: int, reads: int) -> None:
    found = list(samples(size, begin, VOLUME))
    assert len(found) == reads
    assert sum(length for _, length in found) == reads * BLOCK


def test_a_member_s_volume_is_read_to_the_byte_so_often() -> None:
    size = 20 * GIB
    assert len(landmarks(size)) == 70
    assert sum(length for _, length in landmarks(size)) == MIB + TAIL + 68 * 65536
    assert sum(length for _, length in pieces(size)) == size
    assert len(list(pieces(size))) == 20_480


@pytest.mark.parametrize("size", [20 * GIB, 100 * GIB, 333 * GIB + 4096])
def test_each_stretch_beyond_has_one_sample_somewhere_in_it(size: int) -> None:
    stretch = max(MIB, math.ceil(size / MOST_READS / BLOCK) * BLOCK)
    offsets = [offset for offset, _ in samples(size, 0, VOLUME)]
    assert [offset // stretch for offset in offsets] == list(range(math.ceil(size / stretch)))
    within = {offset % stretch // (stretch // 8) for offset in offsets}
    assert within >= set(range(8)), "not always at the same place of a stretch"


def test_a_second_look_sees_the_same_blocks_however_far_the_first_one_read() -> None:
    first, second = (set(samples(20 * GIB, begin, VOLUME)) for begin in (HEAD, WHOLE))
    assert second < first
    assert set(samples(20 * GIB, HEAD, "vol-0fedcba9876543210")) != first


@pytest.mark.parametrize(
    ("what", "size", "offset"),
    [
        ("the backup of a GPT", 20 * GIB, 20 * GIB - 512),
        ("ZFS's third label", 20 * GIB, 20 * GIB - 512 * 1024),
        ("RAID 0.90", 20 * GIB, 20 * GIB - 65536),
        ("RAID 1.0", 20 * GIB, 20 * GIB - 8192),
        ("a mirror of btrfs", 20 * GIB, 64 * MIB),
        ("the other mirror of btrfs", 300 * GIB, 256 * GIB),
        ("XFS's second group", 20 * GIB, 5 * GIB),
        ("XFS's last group of 32", 800 * GIB, 31 * 25 * GIB),
        ("XFS's second group of a TiB", 5 * 1024 * GIB, 1024 * GIB - 4096),
        ("NTFS's mirror in the middle", 20 * GIB, 10 * GIB),
        ("ext4's first backup", 20 * GIB, 32768 * 4096),
        ("ext4's backup in group 125", 20 * GIB, 125 * 32768 * 4096),
        ("ext4's first backup with blocks of a KiB", 20 * GIB, 8193 * 1024),
        ("ext4's backup in group 49 of blocks of 2 KiB", 20 * GIB, 49 * 16384 * 2048),
    ],
)
def test_where_a_format_keeps_a_copy_of_itself_is_always_looked_at(what: str, size: int, offset: int) -> None:
    assert any(place <= offset < place + length for place, length in landmarks(size)), what


def missed_run(blocks: int, stretch: int) -> float:
    """The chance that no sample falls into a run of adjacent blocks that begins anywhere."""
    total = 0.0
    for begin in range(stretch):
        left, chance, at = blocks, 1.0, begin
        while left > 0 and chance > 0:
            here = min(left, stretch - at)
            chance, left, at = chance * (1 - here / stretch), left - here, 0
        total += chance
    return total / stretch


def missed_scattered(blocks: int, stretch: int) -> float:
    """The same for single blocks here and there."""
    return (1 - 1 / stretch) ** blocks


def test_the_documentation_states_what_can_be_missed() -> None:
    page = " ".join(OPERATIONS.read_text().split())
    stretch = MIB // BLOCK
    assert missed_run(2 * stretch - 1, stretch) == 0
    assert missed_run(2 * stretch - 2, stretch) > 0
    for words, chance in {
        "one block of 4 KiB": missed_run(1, stretch),
        "64 KiB in one piece": missed_run(16, stretch),
        "1 MiB in one piece": missed_run(stretch, stretch),
        "1 MiB in scattered blocks": missed_scattered(256, stretch),
        "4 MiB in scattered blocks": missed_scattered(1024, stretch),
        "16 MiB in scattered blocks": missed_scattered(4096, stretch),
    }.items():
        shown = f"{chance:.1%}".replace("%", " %") if chance > 0.0005 else f"1 in {1e-6 / chance:.0f} million"
        assert f"| {words} | {shown} |" in page
    assert "| 2 MiB and more in one piece | never |" in page
    seconds = WHOLE / (125 * MIB) + len(list(samples(20 * GIB, WHOLE, VOLUME))) / 3000
    assert f"{seconds:.0f} s for 20 GiB" in page
    assert f"{20 * GIB / (125 * MIB):.0f} s to read all of it" in page
