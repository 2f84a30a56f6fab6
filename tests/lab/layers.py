"""Cached ext4 images, each a copy of its parent with one script run over it, named by the hash of all that went in.

A script runs as root in mount and process namespaces of its own. Whatever ends it, its mounts and its processes end
with it, and a half-made image never gets the name of a whole one.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab.cache import digest, folder, locked
from tests.lab.progress import say, step
from tests.lab.run import run

SCRIPTS = Path(__file__).parent / "bake"
LOGICAL_GIB = 8  # sparse: an image takes the space of what is in it
KEPT = 4  # of each layer, and those just made or still open: 1 GB each, one for every change of our own code
KEPT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Layer:
    """`script` gets the mounted root as its argument and `environment`; `inputs` name all else that it reads."""

    name: str
    parent: "Layer | None"
    script: str
    environment: Mapping[str, str]
    inputs: tuple[str | Path, ...]

    @property
    def key(self) -> str:
        above = self.parent.key if self.parent else f"ext4 {LOGICAL_GIB}"
        return digest(self.name, above, SCRIPTS / self.script, SCRIPTS / "enter.sh", *self.inputs)

    @property
    def path(self) -> Path:
        return folder("layers") / f"{self.name}-{self.key[:16]}.img"


def build(layer: Layer) -> Path:
    """The layer's image, made now if the cache has none; its parents likewise."""
    with locked(f"layer-{layer.name}"):
        if layer.path.exists():
            note_use(layer.path)
            return layer.path
        parent = build(layer.parent) if layer.parent else None
        partial = layer.path.with_suffix(".partial")
        with step(f"image layer {layer.name} ({layer.key[:16]})"):
            _start_from(parent, partial)
            _run_script(layer, partial)
            partial.rename(layer.path)
        _prune(layer)
        return layer.path


def build_once(layer: Layer) -> None:
    """Run the layer's script over a copy of its parent and throw the image away: only what it wrote elsewhere stays."""
    parent = build(layer.parent) if layer.parent else None
    with locked(f"layer-{layer.name}"):
        partial = layer.path.with_suffix(".partial")
        try:
            _start_from(parent, partial)
            _run_script(layer, partial)
        finally:
            partial.unlink(missing_ok=True)


def _start_from(parent: Path | None, partial: Path) -> None:
    # Whoever holds the layer's lock knows that nobody is working on these.
    for unfinished in partial.parent.glob(f"{partial.name.rpartition('-')[0]}-*.partial"):
        unfinished.unlink()
    if parent is not None:
        run(["cp", "--sparse=always", "--reflink=auto", str(parent), str(partial)])
        return
    run(["truncate", "--size", f"{LOGICAL_GIB}G", str(partial)])
    # Nothing is left to initialise later: background writes in every machine would fill its copy-on-write file.
    options = "lazy_itable_init=0,lazy_journal_init=0"
    run(
        ["mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=32", "-N", "262144", "-E", options, "-L", "root", str(partial)]
    )


def _run_script(layer: Layer, image: Path) -> None:
    log = folder("logs") / f"{layer.name}.log"
    enter = ["bash", str(SCRIPTS / "enter.sh"), str(image), str(SCRIPTS / layer.script), str(log)]
    # Killed with this process, whose death would otherwise leave the script running on a file that nobody will want.
    dying_with_us = ["setpriv", "--pdeathsig", "KILL"]
    isolated = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    run([*dying_with_us, *isolated, *enter], timeout=3600, env=layer.environment)


def note_use(path: Path) -> None:
    """In the access time: copy-on-write files hold the modification time and refuse an image that has another."""
    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def _open_files() -> set[Path]:
    """Of every process: machines that run on an image reboot from it, too."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            found.add(link.readlink())
    return found


def _prune(layer: Layer) -> None:
    images = sorted(folder("layers").glob(f"{layer.name}-*.img"), key=lambda path: path.stat().st_atime, reverse=True)
    for old in images[KEPT:]:
        if time.time() - old.stat().st_atime > KEPT_SECONDS and old not in _open_files():
            old.unlink()
    free = shutil.disk_usage(folder()).free
    if free < 5 << 30:
        say(f"only {free >> 30} GiB left for {folder()}")
