"""User-Mode Linux's copy-on-write files, read from outside: what a disk holds, its backing image included.

The format is version 3 of arch/um/drivers/cow_user.c: a big-endian header, a bitmap with one bit a sector, the sectors.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.lab.run import run

_MAGIC = 0x4F4F4F4D  # "OOOM"
_HEADER = struct.Struct(">IIiQIII4096s")
_PIECE = 16 << 20


class NotCopyOnWriteError(ValueError):
    """The file is none of these, or of a version that nobody here has seen."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie in the file, in bytes."""

    backing: Path
    size: int
    sector: int
    bitmap: int
    data: int


def layout(path: Path) -> Layout:
    """Raises NotCopyOnWriteError."""
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        raise NotCopyOnWriteError(f"{path} is too short for a copy-on-write file")
    magic, version, _, size, sector, alignment, _, backing = _HEADER.unpack(head)
    if (magic, version) != (_MAGIC, 3):
        raise NotCopyOnWriteError(f"{path} begins with {magic:08x}, version {version}; only version 3 is known here")
    bitmap = _up(_HEADER.size, alignment)
    end = bitmap + _up(_up(size, sector) // sector, 8) // 8
    return Layout(Path(backing.rstrip(b"\0").decode()), size, sector, bitmap, _up(end, alignment))


def flatten(path: Path, target: Path) -> None:
    """Write the whole disk as one sparse file. The machine must be off, or its page cache is missing in it."""
    found = layout(path)
    run(["cp", "--sparse=always", "--reflink=auto", str(found.backing), str(target)])
    with path.open("rb") as source, target.open("r+b") as file:
        for first, count in _written(path, found):
            begin, left = first * found.sector, count * found.sector
            while left:
                source.seek(found.data + begin)
                piece = source.read(min(left, _PIECE))
                if not piece:
                    raise NotCopyOnWriteError(f"{path} ends before sector {begin // found.sector} of its own")
                file.seek(begin)
                file.write(piece)
                begin, left = begin + len(piece), left - len(piece)


def _written(path: Path, found: Layout) -> Iterator[tuple[int, int]]:
    """Runs of sectors that the file holds: the first one's number and how many."""
    with path.open("rb") as file:
        file.seek(found.bitmap)
        bitmap = file.read(found.data - found.bitmap)
    # Whole bytes in one go: most of a bitmap is empty, and most of the rest is full.
    for match in re.finditer(rb"\xff+|[^\x00\xff]", bitmap):
        if match[0][0] == 0xFF:
            yield match.start() * 8, len(match[0]) * 8
            continue
        for bit in range(8):
            if match[0][0] >> bit & 1:
                yield match.start() * 8 + bit, 1


def _up(number: int, step: int) -> int:
    return -(-number // step) * step
