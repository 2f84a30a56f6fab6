"""At every poll of a control-plane node: has etcd room, on each of its volumes? And is a volume larger than it was?

A look costs a statvfs, a listing and a kilobyte of the device. It needs no network, and comes before all that does.
"""

import logging
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path

from agent.etcd.poll import MOUNTS
from agent.etcd.room import measure, read_note, take, write_note
from agent.linux.ext4 import outgrown_at
from units.errors import BootwrightError
from units.etcd_room import LOW_BYTES, MIB, Freed, next_step

LOG = logging.getLogger("bootwright.etcd")
_MARKER = ".etcd-volume.json"  # of a volume that is ours
_STEPS = 64

# For an etcd cluster and its mount: what was put aside there and nobody goes back to. May raise BootwrightError.
Outlived = Callable[[str, Path], Collection[str]]
NOTHING: Outlived = lambda _etcd, _mount: ()  # noqa: E731 (a value of the type above)
Start = Callable[[str], None]  # an etcd cluster's unit, if it has failed


def keep_room(outlived: Outlived, start: Start, *, mounts: Path = MOUNTS) -> str:
    """Makes room for etcd where little is left, and a reserve where there is plenty. Under the agent's lock.

    Why a whole run is needed, which grows a file system; empty if none is. Never raises: a poll has more to do.
    """
    grown = []
    marked = (path.parent for path in sorted(mounts.glob(f"*/{_MARKER}")))
    for mount in (path for path in marked if path.is_mount()):
        etcd = mount.name
        try:
            if outgrown_at(mount):
                grown.append(etcd)
            if relieve(etcd, mount, outlived):
                start(etcd)
        except (OSError, BootwrightError) as error:
            LOG.warning("etcd %s: its volume cannot be looked after: %s", etcd, error)
    return f"the volume of etcd {' and '.join(grown)} has grown" if grown else ""


def relieve(etcd: str, mount: Path, outlived: Outlived) -> tuple[Freed, ...]:
    """What was given up for etcd, also written down on the volume. Raises OSError and BootwrightError."""
    freed: list[Freed] = []
    asked = cache(lambda: _asked(etcd, mount, outlived))
    for _step in range(_STEPS):
        step = next_step(measure(mount), asked)
        given = take(step, mount) if step else None
        left = measure(mount)
        if given is None:
            if step:
                LOG.info("etcd %s: its volume has a reserve of %d MiB", etcd, left.reserve_bytes // MIB)
            break
        freed.append(given)
        LOG.warning(
            "etcd %s: under %d MiB were left on its volume: gave up %s; %d MiB are free now",
            etcd,
            LOW_BYTES // MIB,
            given,
            left.free_bytes // MIB,
        )
    if freed:
        _write_down(etcd, mount, freed)
    return tuple(freed)


def _asked(etcd: str, mount: Path, outlived: Outlived) -> Collection[str]:
    """Nothing, if nobody can tell: then what was put aside stays."""
    try:
        return outlived(etcd, mount)
    except BootwrightError as error:
        LOG.warning("etcd %s: what a restore put aside stays: %s", etcd, error)
        return ()


def _write_down(etcd: str, mount: Path, freed: list[Freed]) -> None:
    """The journal has it already; on the volume it is for the status, and may fail where there still is no room."""
    try:
        write_note(mount, (*read_note(mount), *freed))
    except OSError as error:
        LOG.warning("etcd %s: not written down on its volume: %s", etcd, error)
