"""A snapshot file on this machine: room for it, and proof that it is whole.

etcd appends the sha256 of the database to it. `etcdutl snapshot status` says nothing about a file that was cut short
or has a flipped bit (measured, etcd-pki.md 2.6): the trailer is checked here, before upload and after download.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.run_state import running_alone
from units.errors import Fatal, Retryable
from units.etcd_backup import TRAILER_BYTES

# Beside the agent's own state first: etcd's volume is for etcd.
PLACES = (Path("/var/lib/bootwright"), Path("/var/lib/etcd"))
_PREFIX = ".etcd-"
_PAGE = 512
_CHUNK = 1024 * 1024
_LEFT_FREE = 0.11  # of a file system: kubelet evicts pods at 10 %


@dataclass(frozen=True, slots=True)
class Proof:
    size: int
    sha256: str  # of the whole file, trailer included


def prove(path: Path) -> Proof:
    """Read it once. Fatal `etcd-snapshot-damaged` if it is not exactly what etcd wrote."""
    size = path.stat().st_size
    if size % _PAGE != TRAILER_BYTES:
        raise _damaged(path, f"its size, {size} bytes, is not a number of pages and a trailer of {TRAILER_BYTES}")
    database = hashlib.sha256()
    with path.open("rb") as file:
        left = size - TRAILER_BYTES
        while left:
            chunk = file.read(min(_CHUNK, left))
            if not chunk:
                raise _damaged(path, "it became shorter while it was read")
            database.update(chunk)
            left -= len(chunk)
        whole = database.copy()
        trailer = file.read(TRAILER_BYTES)
    if trailer != database.digest():
        raise _damaged(path, "its sha256 trailer is that of another content")
    whole.update(trailer)
    return Proof(size, whole.hexdigest())


@contextmanager
def workspace(needed: int, places: Sequence[Path] = PLACES) -> Iterator[Path]:
    """A folder for nobody else, on the first place with room for `needed` bytes; gone afterwards.

    One at a time on a machine, so that what a predecessor that was killed left behind can go first. Retryable:
    `agent-busy`, `etcd-no-room`.
    """
    there = [place for place in places if place.is_dir()]
    with ExitStack() as stack:
        if there:
            stack.enter_context(running_alone("etcd", there[0] / f"{_PREFIX}lock"))
        folder = _folder(needed, there)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _folder(needed: int, places: Sequence[Path]) -> Path:
    tried = []
    for place in places:
        _sweep(place)
        usage = shutil.disk_usage(place)
        if usage.free - needed >= usage.total * _LEFT_FREE:
            return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))  # 0700: every secret of the cluster lies in it
        tried.append(f"{place} has {usage.free // 1024**2} MiB free")
    raise Retryable(
        "etcd-no-room",
        f"no room for {needed // 1024**2} MiB, with {_LEFT_FREE:.0%} of the file system left free: "
        f"{', '.join(tried) or 'no place exists'}",
        remedy="free space there (`df -h`), or launch with a larger root volume",
        after=600,
    )


def _sweep(place: Path) -> None:
    for entry in os.scandir(place):
        if entry.name.startswith(_PREFIX) and entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)


def _damaged(path: Path, why: str) -> Fatal:
    return Fatal(
        "etcd-snapshot-damaged",
        f"{path.name} is no whole snapshot: {why}",
        remedy="take another one; if it happens again, look at the disk (`dmesg`)",
    )
