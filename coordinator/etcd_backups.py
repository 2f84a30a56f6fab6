"""The backups of an etcd cluster as the operator sees them. Nodes wrote them: read bounded, and only displayed."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from coordinator.store import Store
from units.bootstrap_record import BootstrapRecord
from units.errors import BootwrightError
from units.etcd_backup import (
    MAX_META_BYTES,
    BackupMeta,
    BackupTest,
    Kept,
    backups_prefix,
    decode_meta,
    decode_test,
    kept_in,
    meta_key,
    test_key,
)

_PARALLEL = 16


@dataclass(frozen=True, slots=True)
class SeenBackup:
    kept: Kept
    meta: BackupMeta | None
    test: BackupTest | None
    problem: str = ""  # why it cannot be read, or what its test restore found

    @property
    def verdict(self) -> str:
        if self.problem:
            return self.problem
        return "restored" if self.test else "not tested"


def read_backups(store: Store, etcd: str, *, limit: int = 1000) -> tuple[SeenBackup, ...]:
    """The newest first; uploads that broke off are left out."""
    listed = ((item.key, item.size) for item in store.list(backups_prefix(etcd)))
    whole = [kept for kept in kept_in(etcd, listed) if kept.complete][:limit]
    with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
        return tuple(pool.map(lambda kept: read_backup(store, etcd, kept), whole))


def in_line(backups: Iterable[SeenBackup], record: BootstrapRecord) -> tuple[SeenBackup, ...]:
    """Those of the cluster that the record is of, the highest revision first.

    Its own generation is known by its token. Of each earlier one, whose tokens nobody wrote down, whoever stored a
    backup last had it: a cluster that had this name before, and whose backups are still here, was earlier.
    """
    known = [(one, one.meta) for one in backups if one.meta]
    tokens = {record.token}
    for generation in range(1, record.generation):
        of_it = [(one.kept.taken, meta.token) for one, meta in known if meta.generation == generation]
        tokens |= {max(of_it)[1]} if of_it else set()
    line = [(meta.revision, one.kept.taken, one) for one, meta in known if meta.token in tokens]
    return tuple(one for _revision, _taken, one in sorted(line, key=lambda found: found[:2], reverse=True))


def read_backup(store: Store, etcd: str, kept: Kept) -> SeenBackup:
    try:
        stored = store.get(meta_key(etcd, kept.name), limit=MAX_META_BYTES)
        meta = decode_meta(stored.body, meta_key(etcd, kept.name)) if stored else None
        stored = store.get(test_key(etcd, kept.name), limit=MAX_META_BYTES) if kept.tested else None
        test = decode_test(stored.body, test_key(etcd, kept.name)) if stored else None
    except BootwrightError as error:
        return SeenBackup(kept, None, None, str(error))
    if meta is None:
        return SeenBackup(kept, None, None, "gone since it was listed")
    problem = f"TEST FAILED: {test.problem}" if test and not test.ok else ""
    return SeenBackup(kept, meta, test, problem)
