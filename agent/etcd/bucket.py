"""Backups of one etcd cluster in the bucket: stored meta last, read back, listed, outlived."""

import logging
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from agent.aws.s3 import PARTS, S3, PartSizes
from agent.aws.s3_errors import NoSuchKey
from units.errors import Fatal
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
    outlived,
    snapshot_key,
    test_key,
)

LOG = logging.getLogger("bootwright.etcd")
_MOST_OBJECTS = 20_000
_FILES = ("meta.json", "verified.json", "snapshot.db")  # without meta.json it is no backup any more: that goes first


class BackupBucket:
    """`prefix` is the cluster's, and ends with a slash."""

    def __init__(self, s3: S3, prefix: str, etcd: str, *, parts: PartSizes = PARTS) -> None:
        self._s3 = s3
        self._parts = parts
        self._prefix = prefix
        self.etcd = etcd

    def store(self, name: str, snapshot: Path, meta: BackupMeta) -> None:
        """The backup exists once this returns; S3 has told that it holds these very bytes."""
        key = self._prefix + snapshot_key(self.etcd, name)
        with snapshot.open("rb") as file:
            stored = self._s3.put_file(key, file, size=meta.size, sha256=meta.sha256, parts=self._parts)
        head = self._s3.head(key)
        if (head.size, head.sha256) != (meta.size, stored):
            raise Fatal(
                "etcd-backup-not-stored",
                f"{key}: S3 holds {head.size} bytes with sha256 {head.sha256 or 'unknown'}, "
                f"but {meta.size} with {stored} were sent",
                remedy="somebody else writes there, or the endpoint is not S3; the backup does not count",
            )
        self._s3.put(self._prefix + meta_key(self.etcd, name), meta.encode())

    def backups(self) -> tuple[Kept, ...]:
        """Newest first."""
        listed = self._s3.list(self._prefix + backups_prefix(self.etcd), most=_MOST_OBJECTS)
        return kept_in(self.etcd, ((one.key.removeprefix(self._prefix), one.size) for one in listed))

    def newest_test(self) -> tuple[str, datetime] | None:
        """The backup that was tested last, and when S3 stored the outcome."""
        prefix = self._prefix + backups_prefix(self.etcd)
        listed = self._s3.list(prefix, most=_MOST_OBJECTS)
        tests = [one for one in listed if one.key.endswith("/verified.json")]
        if not tests:
            return None
        newest = max(tests, key=lambda one: one.modified)
        return newest.key.removeprefix(prefix).partition("/")[0], newest.modified

    def meta(self, name: str) -> BackupMeta | None:
        content = self._small(meta_key(self.etcd, name))
        return None if content is None else decode_meta(content, meta_key(self.etcd, name))

    def test(self, name: str) -> BackupTest | None:
        content = self._small(test_key(self.etcd, name))
        return None if content is None else decode_test(content, test_key(self.etcd, name))

    def store_test(self, name: str, test: BackupTest) -> None:
        self._s3.put(self._prefix + test_key(self.etcd, name), test.encode())

    def fetch(self, name: str, file: BinaryIO, *, size: int) -> str:
        """The hex sha256 of what came."""
        return self._s3.get_to_file(self._prefix + snapshot_key(self.etcd, name), file, size=size)

    def tidy(self, now: datetime, *, protected: Collection[str]) -> tuple[str, ...]:
        """Delete what has outlived its use; the names."""
        gone = outlived(self.backups(), now, protected=protected)
        for name in gone:
            for file in _FILES:
                self._s3.delete(f"{self._prefix}{backups_prefix(self.etcd)}{name}/{file}")
            LOG.info("backup %s of etcd %s has outlived its use", name, self.etcd)
        return gone

    def _small(self, key: str) -> bytes | None:
        try:
            return self._s3.get(self._prefix + key, max_bytes=MAX_META_BYTES).body
        except NoSuchKey:
            return None
