"""When old data that a restore put aside is proven to be needed no more: by the record, the data's mark, the bucket."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.aws.s3 import S3
from agent.etcd.aside import proven
from agent.etcd.bucket import BackupBucket
from units.bootstrap_record import BootstrapRecord
from units.etcd_backup import BackupMeta, BackupTest, backup_name, meta_key, snapshot_key
from units.etcd_backup import test_key as outcome_key

BEGAN = datetime(2026, 6, 1, tzinfo=UTC)
RECORD = BootstrapRecord(
    state="established", generation=2, token="t", volumes={}, created_by="i-1", started=("a",), restore=None
)


@pytest.fixture
def mount(tmp_path: Path) -> Path:
    mark = tmp_path / "data/member/.generation"
    mark.parent.mkdir(parents=True)
    mark.write_text('{"generation": 2, "token": "t"}')
    os.utime(mark, (BEGAN.timestamp(), BEGAN.timestamp()))
    return tmp_path


def put_backup(s3: S3, hours: int, *, generation: int = 2, ok: bool | None = True) -> datetime:
    taken = BEGAN + timedelta(hours=hours)
    revision = generation * 10**9 + hours
    name = backup_name(taken, revision)
    meta = BackupMeta(
        cluster="demo",
        etcd="main",
        etcd_version="3.5.16",
        generation=generation,
        token="t",
        revision=revision,
        size=3,
        sha256="0" * 64,
        versions=1,
        members=1,
        member="a",
        taken=taken.isoformat(),
        reason="test",
    )
    s3.put(f"demo/{snapshot_key('main', name)}", b"abc")
    s3.put(f"demo/{meta_key('main', name)}", meta.encode())
    if ok is not None:
        test = BackupTest(ok=ok, at=taken.isoformat(), by="i-1")
        s3.put(f"demo/{outcome_key('main', name)}", test.encode())
    return taken


def test_the_newest_backup_of_this_generation_that_passed_is_the_proof(
    s3: S3, bucket: BackupBucket, mount: Path
) -> None:
    put_backup(s3, 1)
    passed = put_backup(s3, 5)
    put_backup(s3, 7, ok=False)
    put_backup(s3, 9, ok=None)
    found = proven(RECORD, "a", mount, bucket)
    assert found is not None
    assert (found.generation, found.began, found.backed_up) == (2, BEGAN, passed)


def test_backups_of_another_generation_or_without_a_passed_test_prove_nothing(
    s3: S3, bucket: BackupBucket, mount: Path
) -> None:
    put_backup(s3, 1, generation=1)
    put_backup(s3, 2, ok=False)
    put_backup(s3, 3, ok=None)
    assert proven(RECORD, "a", mount, bucket) is None


@pytest.mark.parametrize(
    "change",
    [{"state": "restoring"}, {"started": ("b",)}, {"generation": 3}, None],
    ids=["it is being restored", "this member was not ready in it", "the data is older", "no record"],
)
def test_without_a_generation_that_stands_here_nothing_is_proven(
    s3: S3, bucket: BackupBucket, mount: Path, change: dict[str, Any] | None
) -> None:
    put_backup(s3, 5)
    put_backup(s3, 6, generation=3)
    record = None if change is None else RECORD.model_copy(update=change)
    assert proven(record, "a", mount, bucket) is None


def test_data_without_a_mark_is_of_no_restore(s3: S3, bucket: BackupBucket, mount: Path) -> None:
    put_backup(s3, 5)
    (mount / "data/member/.generation").unlink()
    assert proven(RECORD, "a", mount, bucket) is None
