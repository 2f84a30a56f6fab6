"""Copy-on-write files as User-Mode Linux writes them (arch/um/drivers/cow_user.c), built here byte by byte."""

import struct
from pathlib import Path

import pytest

from tests.lab.cow import NotCopyOnWriteError, flatten, layout

SECTOR = 512
SECTORS = 4096  # a bitmap of 512 bytes


def cow_file(folder: Path, written: dict[int, bytes], *, version: int = 3) -> Path:
    """Over a backing file whose sectors hold their own number."""
    backing = folder / "backing.img"
    backing.write_bytes(b"".join(number.to_bytes(4, "big") * 128 for number in range(SECTORS)))
    bitmap = bytearray(SECTORS // 8)
    for number in written:
        bitmap[number // 8] |= 1 << number % 8
    path = folder / "root.cow"
    head = struct.pack(">IIiQIII", 0x4F4F4F4D, version, 0, SECTORS * SECTOR, SECTOR, 4096, 0) + str(backing).encode()
    with path.open("wb") as file:
        file.write(head)
        file.seek(8192)  # the header takes 4128 bytes, aligned to a page
        file.write(bitmap)
        for number, content in written.items():
            file.seek(8192 + 4096 + number * SECTOR)
            file.write(content)
    return path


def test_what_was_written_lies_over_the_backing_file(tmp_path: Path) -> None:
    written = {0: b"a" * SECTOR, **dict.fromkeys(range(8, 29), b"b" * SECTOR), SECTORS - 1: b"c" * SECTOR}
    path = cow_file(tmp_path, written)
    flatten(path, tmp_path / "flat.img")
    flat = (tmp_path / "flat.img").read_bytes()
    backing = (tmp_path / "backing.img").read_bytes()
    assert len(flat) == SECTORS * SECTOR
    for number in range(SECTORS):
        place = slice(number * SECTOR, (number + 1) * SECTOR)
        assert flat[place] == written.get(number, backing[place]), number


def test_the_backing_file_is_not_changed(tmp_path: Path) -> None:
    path = cow_file(tmp_path, {7: b"x" * SECTOR})
    before = (tmp_path / "backing.img").read_bytes()
    flatten(path, tmp_path / "flat.img")
    assert (tmp_path / "backing.img").read_bytes() == before


def test_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotCopyOnWriteError, match="version 2"):
        layout(cow_file(tmp_path, {}, version=2))


def test_a_file_that_ends_before_a_sector_it_claims_is_refused(tmp_path: Path) -> None:
    path = cow_file(tmp_path, {2000: b"x" * SECTOR})
    with path.open("r+b") as file:
        file.truncate(8192 + 4096 + 1000 * SECTOR)
    with pytest.raises(NotCopyOnWriteError, match="sector 2000"):
        flatten(path, tmp_path / "flat.img")
