"""A backup of an etcd cluster: its name, what is kept with it, whether it can be believed, how long it stays. Pure.

etcd/NAME/backups/2026-11-23T07:15:00Z-1234/snapshot.db     the database with etcd's sha256 trailer
                                           /meta.json       written last: without it there is no backup
                                           /verified.json   how a test restore of it went
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from units.bootstrap_record import BootstrapRecord
from units.errors import Fatal, Refused, Retryable
from units.manifest import problems_of

EVERY = timedelta(minutes=15)
TEST_EVERY = timedelta(days=1)
CLOCKS_DIFFER = timedelta(minutes=5)  # S3 itself takes nothing from a clock that is wrong by more than 15
KEEP_ALL, KEEP_HOURLY, KEEP_DAILY = timedelta(hours=1), timedelta(days=7), timedelta(days=90)
TRAILER_BYTES = 32
MAX_META_BYTES = 16 * 1024
_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)-(\d{1,19})")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class _Document(BaseModel):
    # A coordinator reads the backups of newer agents too.
    model_config = ConfigDict(frozen=True, extra="ignore")

    def encode(self) -> bytes:
        return (self.model_dump_json(indent=1) + "\n").encode()


class BackupMeta(_Document):
    format: Literal[1] = 1
    cluster: str
    etcd: str
    etcd_version: str
    generation: int
    token: str  # of the generation
    revision: int
    size: int  # of snapshot.db, trailer included
    sha256: str  # of the same
    keys: int | None = None  # how many there were at `revision`; None if that was compacted before they were counted
    versions: int  # of keys in the file, old ones and deletions too: what `etcdutl snapshot status` calls totalKey
    members: int
    member: str  # whose database it is
    taken: str  # RFC 3339
    reason: str


class BackupTest(_Document):
    """A restore of the backup as it lies in the bucket, into a member of its own."""

    format: Literal[1] = 1
    ok: bool
    at: str  # RFC 3339
    by: str  # instance id
    etcd_version: str = ""
    revision: int = 0
    keys: int | None = None
    seconds: float = 0.0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """What `etcdutl snapshot status` says of a file."""

    revision: int
    versions: int
    hash: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A folder under `backups/` as a listing shows it."""

    name: str
    taken: datetime
    revision: int
    size: int  # of snapshot.db; 0 without one
    complete: bool  # it has its meta.json
    tested: bool  # it has a verified.json, which may tell of a failure


def backups_prefix(etcd: str) -> str:
    return f"etcd/{etcd}/backups/"


def snapshot_key(etcd: str, name: str) -> str:
    return f"{backups_prefix(etcd)}{name}/snapshot.db"


def meta_key(etcd: str, name: str) -> str:
    return f"{backups_prefix(etcd)}{name}/meta.json"


def test_key(etcd: str, name: str) -> str:
    return f"{backups_prefix(etcd)}{name}/verified.json"


def backup_name(taken: datetime, revision: int) -> str:
    return f"{taken.astimezone(UTC).strftime(_TIME)}-{revision}"


def parse_name(name: str) -> tuple[datetime, int] | None:
    """When, and at which revision; None for what is no name of a backup."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    try:
        return datetime.strptime(found[1], _TIME).replace(tzinfo=UTC), int(found[2])
    except ValueError:
        return None


def kept_in(etcd: str, objects: Iterable[tuple[str, int]]) -> tuple[Kept, ...]:
    """Newest first, from keys (relative to the cluster) and sizes. Folders that are no backups are left alone.

    By time, not by revision: a cluster that was made anew under an old name begins at revision 1 again, beside the
    backups of the one before. Machines' clocks may differ, but S3 takes nothing from one that is 15 minutes off.
    """
    prefix = backups_prefix(etcd)
    files: dict[str, dict[str, int]] = {}
    for key, size in objects:
        folder, _, file = key.removeprefix(prefix).partition("/")
        if key.startswith(prefix) and parse_name(folder):
            files.setdefault(folder, {})[file] = size
    found = []
    for name, sizes in files.items():
        taken, revision = parse_name(name) or (datetime.min.replace(tzinfo=UTC), 0)
        complete = "meta.json" in sizes and "snapshot.db" in sizes
        found.append(Kept(name, taken, revision, sizes.get("snapshot.db", 0), complete, "verified.json" in sizes))
    return tuple(sorted(found, key=_time, reverse=True))


def newest_of(backups: Iterable[Kept], now: datetime) -> Kept | None:
    """The complete one that was taken last. One from the future tells of a clock that was wrong, then or now."""
    whole = [one for one in backups if one.complete]
    past = [one for one in whole if one.taken - now <= CLOCKS_DIFFER]
    return max(past or whole, key=_time, default=None)


def _time(kept: Kept) -> tuple[datetime, int]:
    return kept.taken, kept.revision


def outlived(backups: Collection[Kept], now: datetime, *, protected: Collection[str] = ()) -> tuple[str, ...]:
    """Names to delete: all of the last hour stay, then the newest of each hour for 7 days, of each day for 90 days.

    Whatever its age: the newest backup stays, the newest that was tested (both by the clock and by revision), and what
    is `protected` (the one that the running generation began with). A folder without meta.json is an upload that broke
    off: it goes after a day.
    """
    whole = sorted((one for one in backups if one.complete), key=_time, reverse=True)
    newest = [
        order[:1]
        for some in (whole, [one for one in whole if one.tested])
        for order in (some, sorted(some, key=lambda one: (one.revision, one.taken), reverse=True))
    ]
    stay = {*protected, *(one.name for first in newest for one in first)}
    slots: set[tuple[str, datetime]] = set()
    for one in whole:
        age = now - one.taken
        if age <= KEEP_ALL:
            stay.add(one.name)
            continue
        hour = one.taken.replace(minute=0, second=0)
        for kind, slot, limit in (("hour", hour, KEEP_HOURLY), ("day", hour.replace(hour=0), KEEP_DAILY)):
            if age <= limit and (kind, slot) not in slots:
                slots.add((kind, slot))
                stay.add(one.name)
    broken = {one.name for one in backups if not one.complete and now - one.taken > timedelta(days=1)}
    gone = {one.name for one in whole} | broken
    return tuple(sorted(gone - stay))


def is_due(backups: Iterable[Kept], now: datetime) -> bool:
    """A little under the interval: a timer's jitter must not make it every other time.

    What is taken in the future tells of a clock that was wrong, then or now: it puts no backup off.
    """
    newest = max((one.taken for one in backups if one.complete and one.taken - now <= CLOCKS_DIFFER), default=None)
    return newest is None or now - newest > EVERY * 0.8


def to_test(
    backups: Collection[Kept], newest_test: datetime | None, now: datetime, *, failed: str | None = None
) -> Kept | None:
    """The newest backup, once a day; `newest_test` is when the last test restore was written.

    `failed`: the backup that this last test could not restore. Any other is tested at once then: until one can be
    restored, nobody knows whether there is a backup at all.
    """
    newest = newest_of(backups, now)
    if failed is not None and newest is not None and newest.name != failed:
        return newest
    if newest_test is not None and -CLOCKS_DIFFER <= now - newest_test < TEST_EVERY:
        return None
    return newest


def require_generation_key(etcd: str, held: str | None, record: BootstrapRecord) -> None:
    """Retryable unless the cluster itself holds the token of the record (`held`, from /bootwright/cluster).

    From the moment a restore is begun the record is of a generation that nobody serves yet: a backup taken then is of
    the data before, and must not be labelled with the new generation, in which it would be the newest of all.
    """
    if held == record.token:
        return
    raise Retryable(
        "etcd-backup-of-no-generation",
        f"etcd {etcd!r} serves {f'the generation of token {held!r}' if held else 'no generation yet'}, but its record "
        f"says {record.token!r} (generation {record.generation}, {record.state}): a backup would tell of the wrong one",
        remedy="wait until the members serve the record's generation: `agent etcd status`, `coordinator status`",
        after=60,
    )


def believable(
    facts: SnapshotFacts, keys: int | None, previous: BackupMeta | None, token: str, *, at_least: int
) -> SnapshotFacts:
    """Refused for a snapshot that is whole, and still not what this cluster holds.

    Within a generation revisions only grow: one that is lower than the last backup's is another cluster's database. By
    its token: the cluster that had this name before was in a generation of the same number. `at_least`: the member's
    revision before it began to send (Retryable if the file is older: another member sent it, one that is behind);
    `keys`: how many it counted at the file's revision.
    """
    if facts.versions <= 0 or keys == 0:
        raise Refused(
            "etcd-backup-empty",
            f"the snapshot holds no keys at all ({facts.versions} versions, revision {facts.revision}): it is not kept",
            remedy="a cluster without a single key has nothing to back up; if it had some, see `agent etcd status`",
        )
    if keys is not None and keys > facts.versions:
        raise Refused(
            "etcd-backup-incomplete",
            f"the member counts {keys} keys at revision {facts.revision}, but the snapshot holds {facts.versions} "
            "versions of keys, old ones included: some are missing",
            remedy="it is not kept. If the next one is like it, this member's database is damaged: "
            "`agent etcd status`, `etcdctl endpoint hashkv --cluster`; replace the member by giving it an empty volume",
        )
    if facts.revision < at_least:
        raise Retryable(
            "etcd-backup-behind",
            f"the snapshot is at revision {facts.revision}, but the member was at {at_least} before it was asked",
            remedy="it is not kept, and another is taken; if it stays so, compare `agent etcd status` on all members",
            after=60,
        )
    if previous and previous.token == token and facts.revision < previous.revision:
        raise Refused(
            "etcd-backup-older",
            f"the snapshot is at revision {facts.revision}, but the backup of {previous.taken} has {previous.revision}",
            remedy="this member does not hold the cluster's data: compare `agent etcd status` on all members",
        )
    return facts


def decode_meta(content: bytes, key: str) -> BackupMeta:
    try:
        return BackupMeta.model_validate_json(content)
    except ValidationError as error:
        raise _unreadable(key, error) from error


def decode_test(content: bytes, key: str) -> BackupTest:
    try:
        return BackupTest.model_validate_json(content)
    except ValidationError as error:
        raise _unreadable(key, error) from error


def _unreadable(key: str, error: ValidationError) -> Fatal:
    problem = "; ".join(str(one) for one in problems_of(error)[:3])
    return Fatal(
        "etcd-backup-unreadable",
        f"{key} does not describe a backup: {problem}",
        remedy="take another backup (`coordinator etcd backups` lists them)",
    )
