"""Puts the image archives of the asset store into containerd when an image is baked, and looks whether they are there.

    /opt/bootwright/venv/bin/python -I -m agent.preload list STORE                        packer/preload.sh runs these
    /opt/bootwright/venv/bin/python -I -m agent.preload load STORE RECORD --address SOCKET
    /opt/bootwright/venv/bin/python -I -m agent.preload check STORE RECORD --address SOCKET

STORE is the folder of files that are named by their sha256; RECORD gets what was loaded, for image.json. A node then
finds by the labels of `agent.linux.images` that an image is what its manifest names, and reads no archive.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.durable import write_durably
from agent.linux.assets import asset_key
from agent.linux.images import ContainerdImages, holds_images
from units.errors import BootwrightError, Fatal
from units.host import HeldImage


@dataclass(frozen=True, slots=True)
class Preloaded:
    """One image in containerd."""

    reference: str
    target: str  # sha256:... of its manifest
    archive: str  # sha256 of the file that it came of


def archives(store: Path) -> tuple[Path, ...]:
    """The files of the store that hold images."""
    return tuple(path for path in sorted(store.glob("sha256/??/*")) if path.is_file() and holds_images(str(path)))


def load(store: Path, images: ContainerdImages) -> tuple[Preloaded, ...]:
    """Of an empty containerd: Fatal unless every archive brings images of its own."""
    made: dict[str, Preloaded] = {}
    for path in archives(store):
        new = images.load_all(str(path), path.name)
        if not new:
            raise Fatal(
                "image-not-in-archive",
                f"{path} brings no image with a name, or none that another archive has not brought",
                remedy="save it under the name that the manifest has for it; bake one archive of each image",
            )
        for reference, held in new.items():
            if reference in made:
                raise Fatal(
                    "image-twice",
                    f"{path} and {asset_key(made[reference].archive)} hold different images by the name of {reference}",
                    remedy="bake the one that the manifest names by its sha256",
                )
            made[reference] = Preloaded(reference, held.target, held.archive)
    return tuple(made[reference] for reference in sorted(made))


def faults(store: Path, record: Sequence[Preloaded], images: ContainerdImages) -> Iterator[str]:
    """A line for everything about the store's archives that containerd does not have as the record says."""
    for path in archives(store):
        if not any(one.archive == path.name for one in record):
            yield f"the image archive {path} is not preloaded"
    complete = images.complete()
    for one in record:
        if images.held(one.reference) != HeldImage(one.target, one.archive):
            yield f"containerd does not hold {one.reference} as {one.target} of the archive {one.archive}, pinned"
        elif one.reference not in complete:
            yield f"{one.reference} is not complete, or not unpacked"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m agent.preload", description=__doc__)
    parser.add_argument("action", choices=("list", "load", "check"))
    parser.add_argument("store", type=Path)
    parser.add_argument("record", type=Path, nargs="?")
    parser.add_argument("--address", default="", help="containerd's socket")
    chosen = parser.parse_args(arguments)
    try:
        lines = list(_lines(chosen.action, chosen.store, chosen.record, ContainerdImages(address=chosen.address)))
    except BootwrightError as error:
        sys.stderr.write(f"preload: {error.code}: {error}\n")
        return error.exit_code
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return int(chosen.action == "check" and bool(lines))


def _lines(action: str, store: Path, record: Path, images: ContainerdImages) -> Iterator[str]:
    if action == "list":
        yield from map(str, archives(store))
    elif action == "load":
        found = load(store, images)
        write_durably(record, encode(found), mode=0o644)
        yield from (f"{one.reference} {one.target}" for one in found)
    else:
        yield from faults(store, decode(record), images)


def encode(found: Sequence[Preloaded]) -> bytes:
    rows = [{"reference": one.reference, "target": one.target, "archive": one.archive} for one in found]
    return (json.dumps(rows, indent=1) + "\n").encode()


def decode(record: Path) -> tuple[Preloaded, ...]:
    """() if there is none: then nothing was loaded."""
    rows: Sequence[Mapping[str, str]] = json.loads(record.read_bytes()) if record.exists() else ()
    return tuple(Preloaded(row["reference"], row["target"], row["archive"]) for row in rows)


if __name__ == "__main__":
    sys.exit(main())
