"""Where a disk is looked at before it counts as blank. Everything found there must be zero, as a new EBS volume is.

Three lots: the places where any known format keeps a copy of itself, the disk from its start for as long as there is
time, and of what lies beyond one block at a random place in each stretch.
"""

import hashlib
from collections.abc import Iterator

MIB = 1024 * 1024
BLOCK = 4096  # what a stretch is sampled with; also the alignment that O_DIRECT needs
PIECE = MIB  # of the part that is read whole
HEAD = 64 * MIB  # read whole on the slowest disk, too: the early metadata of every format lies in it
TAIL = 4 * MIB  # backups of GPT and LVM, RAID 0.90 and 1.0, two of ZFS's labels, DRBD, mirrors of NTFS, UDF and HFS+
MOST_READS = 32_768  # eleven seconds of gp3's 3000 IOPS
_SAMPLE = 64 * 1024
_TIB = 1024 * 1024 * MIB

Place = tuple[int, int]  # offset, length; both in whole blocks, but for a disk that ends within one


def landmarks(size: int) -> tuple[Place, ...]:
    """Both ends, and where copies of superblocks lie that outlive a wiped first one."""
    offsets = {*_ext4_backups(size), *_btrfs_mirrors(), *_xfs_group_headers(size)}
    ends = (0, min(size, MIB)), (max(0, (size - TAIL) // BLOCK * BLOCK), min(size, TAIL + size % BLOCK))
    return *ends, *((offset, min(_SAMPLE, size - offset)) for offset in sorted(offsets) if offset < size)


def pieces(size: int) -> Iterator[Place]:
    """The whole disk from its start."""
    for offset in range(0, size, PIECE):
        yield offset, min(PIECE, size - offset)


def samples(size: int, begin: int, seed: str) -> Iterator[Place]:
    """A block in each stretch of what lies beyond `begin`; a stretch is a MiB, or longer where there were too many.

    `seed` (the volume id) chooses the blocks, so that a second look sees the same ones.
    """
    stretch = max(MIB, -(-size // MOST_READS // BLOCK) * BLOCK)
    chances = hashlib.shake_256(seed.encode()).digest(4 * -(-size // stretch))
    for number in range(begin // stretch, -(-size // stretch)):
        blocks = -(-min(stretch, size - number * stretch) // BLOCK)
        chance = int.from_bytes(chances[4 * number : 4 * number + 4], "big") % blocks
        offset = number * stretch + chance * BLOCK
        yield offset, min(BLOCK, size - offset)


def _ext4_backups(size: int) -> Iterator[int]:
    """With sparse_super (the default since 1999) groups 1 and the powers of 3, 5 and 7 carry a copy."""
    for block in (1024, 2048, 4096, 65536):
        for base in (3, 5, 7):
            group = 1
            while (offset := group * 8 * block * block) < size:  # with 1 KiB blocks a KiB later: within the sample
                yield offset
                group *= base


def _btrfs_mirrors() -> Iterator[int]:
    yield from (64 * MIB, 256 * 1024 * MIB)


def _xfs_group_headers(size: int) -> Iterator[int]:
    """mkfs.xfs makes 4 allocation groups, up to 32 over RAID, and groups of a TiB less a block on what is larger.

    Two quarters are also where NTFS once kept its mirror: the middle.
    """
    for groups in (4, 8, 16, 32):
        yield from (number * -(-(size // BLOCK) // groups) * BLOCK for number in range(1, groups))
    yield from range(_TIB - BLOCK, size, _TIB - BLOCK)
