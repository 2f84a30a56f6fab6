"""Room on an etcd member's volume: what the agent keeps in reserve there, and what of its own it gives up. Pure.

Why, measured with etcd 3.5.16 on ext4 (ADR 0018): its database is a sparse file, so without a free block the next
commit ends etcd (exit 1) within a second, and each start after it too; its log takes 64 MB at once, one piece ahead,
and what a failed piece took it keeps. Nothing it had acknowledged was missing once there was room again.

With few imports: the poll of every minute asks this.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

MIB = 1024**2
LOG_BYTES = 64 * MIB  # a piece of etcd's log
LOW_BYTES = 2 * LOG_BYTES  # with less free, room is made: the next piece fits, and a minute's growth of the database
RESERVE = ".reserve"  # beside etcd's data directory, root's
NOTE = ".room.json"
KEEP_ASIDE = timedelta(days=7)  # what the last restore put aside: until then somebody may want to go back

_LEAST, _MOST, _PART = 2 * LOG_BYTES, 4 * LOG_BYTES, 0.02
_SMALLEST = 6 * _LEAST  # of a volume with a reserve: 1 GiB of EBS has it
_NOTES = 8
_RESTORED = re.compile(r"restored\.g(\d{1,9})(\.rough)?")
_ASIDE = re.compile(r"data\.g(\d{1,9})(?:\.(\d{1,9}))?")
_GONE = ".gone."  # a directory is renamed before it is deleted: half of one would look like data


@dataclass(frozen=True, slots=True)
class VolumeRoom:
    """A member's volume as it is now."""

    total_bytes: int  # of the file system, without its own tables
    free_bytes: int  # for whoever is not root
    reserve_bytes: int = 0  # allocated to the reserve
    names: frozenset[str] = frozenset()  # of its top directory
    data_generation: int = 0  # of the mark inside `data`; 0 without one


@dataclass(frozen=True, slots=True)
class Delete:
    """A directory of the agent's own, with all in it."""

    name: str

    def __str__(self) -> str:
        return f"delete {self.name}"


@dataclass(frozen=True, slots=True)
class SpendReserve:
    def __str__(self) -> str:
        return "give up the reserve"


@dataclass(frozen=True, slots=True)
class MakeReserve:
    bytes: int

    def __str__(self) -> str:
        return f"keep {self.bytes // MIB} MiB in reserve"


Step = Delete | SpendReserve | MakeReserve


@dataclass(frozen=True, slots=True)
class Proven:
    """The running generation, established, with this volume's data of it; and the newest of its backups that passed."""

    generation: int
    began: datetime  # when this volume's data of it was made
    backed_up: datetime


@dataclass(frozen=True, slots=True)
class Freed:
    at: str  # RFC 3339
    what: str
    bytes: int

    def __str__(self) -> str:
        return f"{self.what}, {self.bytes // MIB} MiB, at {self.at}"


def next_step(room: VolumeRoom, outlived: Callable[[], Collection[str]] = tuple) -> Step | None:
    """Made anew after every step. `outlived` is asked only when it counts: it needs the bucket.

    What nobody needs goes first, and the reserve last: once it is spent, only a larger volume helps.
    """
    if room.free_bytes < LOW_BYTES:
        if left := sorted(leftovers(room)):
            return Delete(left[0])
        if room.names & set(aside(room.names)) and (old := [one for one in outlived() if one in room.names]):
            return Delete(old[0])
        return SpendReserve() if room.reserve_bytes else None
    wanted = reserve_bytes(room.total_bytes)
    return MakeReserve(wanted) if room.reserve_bytes < wanted and room.free_bytes >= reserve_from(room) else None


def reserve_bytes(total_bytes: int) -> int:
    """Of a volume; 0 for one that is too small to spare any."""
    if total_bytes < _SMALLEST:
        return 0
    return min(_MOST, max(_LEAST, int(total_bytes * _PART) // MIB * MIB))


def reserve_from(room: VolumeRoom) -> int:
    """With so many bytes free, what lacks of the reserve is taken: never so many that they would be given up again."""
    lacking = reserve_bytes(room.total_bytes) - room.reserve_bytes
    return lacking + max(2 * LOW_BYTES, room.total_bytes // 10)


def leftovers(room: VolumeRoom) -> tuple[str, ...]:
    """What restores left that were cut off or overtaken. Only while no restore works on the volume: under the lock
    of the agent's runs.
    """
    found = ((name, _RESTORED.fullmatch(name)) for name in room.names)
    restored = (name for name, match in found if match and (match[2] or int(match[1]) <= room.data_generation))
    return (*restored, *(name for name in room.names if name.startswith(_GONE)))


def aside(names: Iterable[str]) -> tuple[str, ...]:
    """Data that restores put aside, the oldest first."""
    found = [(int(match[1]), int(match[2] or 1), name) for name in names if (match := _ASIDE.fullmatch(name))]
    return tuple(name for _generation, _number, name in sorted(found))


def outlived(names: Iterable[str], proven: Proven | None, now: datetime) -> tuple[str, ...]:
    """Of what was put aside, what nobody goes back to; the oldest first.

    None without a backup of the running generation that was restored as a test since it began. The last one that was
    put aside holds what the last restore threw away: it stays until that is a week ago, by such a backup too.
    """
    if proven is None or proven.backed_up <= proven.began:
        return ()
    old = [name for name in aside(names) if _generation(name) < proven.generation]
    settled = min(proven.backed_up, now) - proven.began >= KEEP_ASIDE
    return tuple(old if settled else old[:-1])


def name_to_go(name: str) -> str | None:
    """What a directory is renamed to before it is deleted; None for one that is not the agent's own to delete."""
    if name.startswith(_GONE):
        return name
    return f"{_GONE}{name}" if _RESTORED.fullmatch(name) or _ASIDE.fullmatch(name) else None


def encode_note(freed: Iterable[Freed]) -> bytes:
    """What was given up, the newest last; lies on the volume."""
    return (json.dumps([asdict(one) for one in tuple(freed)[-_NOTES:]], indent=1) + "\n").encode()


def decode_note(content: bytes | None) -> tuple[Freed, ...]:
    """Empty for what is no note."""
    try:
        found = json.loads(content or b"[]")
        return tuple(Freed(str(one["at"]), str(one["what"]), int(one["bytes"])) for one in found)[-_NOTES:]
    except (ValueError, KeyError, TypeError):
        return ()


def _generation(name: str) -> int:
    match = _ASIDE.fullmatch(name)
    assert match is not None
    return int(match[1])
