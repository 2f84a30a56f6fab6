"""Disks of machines: the root disk over a shared image, and volumes that outlive the machine they are plugged into.

User-Mode Linux gives a disk a serial number only in the form COW-FILE,BACKING-FILE,SERIAL. So a volume is a pair:
NAME.img, sparse and never written, says how large it is and reads as zeros; NAME.cow beside it holds what was written.
"""

import os
from dataclasses import dataclass
from pathlib import Path

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Disk:
    """What one ubd device of a machine is made of."""

    written: Path
    backing: Path
    serial: str = ""

    @property
    def argument(self) -> str:
        return ",".join([str(self.written), str(self.backing), *([self.serial] if self.serial else [])])


def create_volume(path: Path, size_gib: int) -> None:
    """A blank volume. Raises FileExistsError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.truncate(size_gib * GIB)
    # The copy-on-write header holds the backing file's time in seconds; from here on nothing may touch it.
    os.utime(path, (0, 0))


def delete_volume(path: Path) -> None:
    for part in (written_part(path), path):
        part.unlink(missing_ok=True)


def volume_disk(volume_id: str, path: Path) -> Disk:
    """The disk as Nitro shows it: its serial is the volume's id without the dash."""
    for part in (path, path.parent):
        if "," in str(part) or ":" in str(part):
            raise ValueError(f"{part}: User-Mode Linux cannot take a path with a comma or a colon")
    return Disk(written_part(path), path, volume_id.replace("-", ""))


def written_part(path: Path) -> Path:
    return path.with_suffix(".cow")
