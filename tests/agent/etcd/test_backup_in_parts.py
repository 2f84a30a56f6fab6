"""Backups that are too large for one request: of a real member, in moto's S3, restored by a real etcd."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from agent.aws.s3 import S3, PartSizes
from agent.etcd.backup import BackupTaker
from agent.etcd.bucket import BackupBucket
from agent.etcd.trial import RestoreTester
from tests.agent.etcd.conftest import PREFIX
from tests.real_etcd.cluster import RealCluster
from units.errors import Fatal
from units.etcd_backup import BackupMeta

pytestmark = pytest.mark.slow
MIB = 1024**2
PARTS = PartSizes(above=5 * MIB, least=5 * MIB)  # S3's own least


@pytest.fixture
def bucket(s3: S3) -> BackupBucket:
    """Whose backups go in parts above 5 MiB, and not 5 GiB."""
    return BackupBucket(s3, PREFIX, "main", parts=PARTS)


@pytest.fixture(scope="module")
def large(one: RealCluster) -> RealCluster:
    one.put_many(12, MIB)
    return one


def uploads(objects) -> list[str]:
    return [upload.object_key for upload in objects.multipart_uploads.all()]


def test_a_backup_in_parts_is_restored_with_every_key(
    large: RealCluster, taker: BackupTaker, tester: RestoreTester, bucket: BackupBucket, objects
) -> None:
    backup = taker.take(None, "test")
    stored = objects.Object(f"{PREFIX}etcd/main/backups/{backup.name}/snapshot.db")
    assert stored.e_tag.strip('"').endswith(f"-{-(-backup.meta.size // PARTS.least)}")
    assert uploads(objects) == []
    outcome = tester.test(backup.name, backup.meta)
    assert outcome.problem == ""
    assert outcome.keys == backup.meta.keys >= 12


def test_a_byte_that_rots_in_an_object_of_parts_is_found_by_the_digest_of_the_whole(
    large: RealCluster, taker: BackupTaker, tester: RestoreTester, objects
) -> None:
    backup = taker.take(None, "test")
    stored = objects.Object(f"{PREFIX}etcd/main/backups/{backup.name}/snapshot.db")
    content = bytearray(stored.get()["Body"].read())
    content[6 * MIB] ^= 1
    stored.put(Body=bytes(content))
    assert "etcd-backup-damaged" in tester.test(backup.name, backup.meta).problem


def a_file(tmp_path: Path, like: BackupMeta) -> tuple[Path, BackupMeta]:
    content = os.urandom(12 * MIB)
    path = tmp_path / "snapshot.db"
    path.write_bytes(content)
    return path, like.model_copy(update={"size": len(content), "sha256": hashlib.sha256(content).hexdigest()})


CUT = """
import os, sys
from pathlib import Path
from agent.aws.credentials import Credentials
from agent.aws.s3 import S3, Bucket, PartSizes
from agent.etcd.bucket import BackupBucket
from units.etcd_backup import decode_meta

endpoint, bucket, prefix, least, path = sys.argv[1:]
asked = iter(range(10))

def credentials():
    if next(asked) == 2:  # begun, and one part sent
        os._exit(9)
    return Credentials("AKID", "secret")

s3 = S3(Bucket(bucket, "us-east-1", endpoint), credentials)
parts = PartSizes(int(least), int(least))
meta = decode_meta(sys.stdin.buffer.read(), "stdin")
BackupBucket(s3, prefix, "main", parts=parts).store("2030-01-01T00:00:00Z-999999", Path(path), meta)
"""


def test_a_power_cut_between_two_parts_costs_one_backup_and_the_next_round_makes_one(
    large: RealCluster, taker: BackupTaker, bucket: BackupBucket, objects, moto_endpoint: str, tmp_path: Path
) -> None:
    first = taker.take(None, "before")
    path, meta = a_file(tmp_path, first.meta)
    arguments = [moto_endpoint, objects.name, PREFIX, str(PARTS.least), str(path)]
    cut = subprocess.run([sys.executable, "-c", CUT, *arguments], input=meta.encode(), check=False)
    assert cut.returncode == 9
    [left] = list(objects.multipart_uploads.all())
    assert len(list(left.parts.all())) == 1
    assert [kept.name for kept in bucket.backups()] == [first.name]
    large.put_many(1, 1)
    second = taker.take(None, "after")
    assert [kept.name for kept in bucket.backups() if kept.complete] == [second.name, first.name]
    left.abort()  # as the bucket's lifecycle rule does


def test_a_digest_that_is_not_the_files_makes_no_backup(
    large: RealCluster, taker: BackupTaker, bucket: BackupBucket, objects, tmp_path: Path
) -> None:
    backup = taker.take(None, "test")
    path, meta = a_file(tmp_path, backup.meta)
    with pytest.raises(Fatal) as caught:
        bucket.store("2030-01-01T00:00:00Z-999999", path, meta.model_copy(update={"sha256": "0" * 64}))
    assert caught.value.code == "s3-file-changed"
    assert uploads(objects) == []
    assert [kept.name for kept in bucket.backups()] == [backup.name]


def test_an_s3_that_keeps_other_parts_than_were_sent_makes_no_backup(
    large: RealCluster, taker: BackupTaker, bucket: BackupBucket, s3: S3
) -> None:
    class Forgetful:  # a double: an S3 that says it took the parts, and keeps another object of the same size
        def __getattr__(self, name: str):
            return getattr(s3, name)

        def put_file(self, key: str, file, *, size: int, sha256: str, parts: PartSizes) -> str:
            stored = s3.put_file(key, file, size=size, sha256=sha256, parts=parts)
            s3.put(key, os.urandom(size))
            return stored

    with pytest.raises(Fatal) as caught:
        replace(taker, bucket=BackupBucket(Forgetful(), PREFIX, "main", parts=PARTS)).take(None, "test")
    assert caught.value.code == "etcd-backup-not-stored"
    assert not any(kept.complete for kept in bucket.backups())
