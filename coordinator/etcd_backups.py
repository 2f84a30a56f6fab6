"""The backups of an etcd cluster as the operator sees them. Nodes wrote them: read bounded, and only displayed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from coordinator.store import Store
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
