"""Backups of a real member into moto's S3, and what must never pass for one."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.aws.s3 import S3
from agent.etcd.access import NodeEtcd
from agent.etcd.backup import BackupTaker
from agent.etcd.bucket import BackupBucket
from agent.etcd.snapshot import prove, workspace
from agent.etcd.tools import EtcdTools
from agent.etcd.trial import RestoreTester
from tests.real_etcd.cluster import RealCluster
from units.bootstrap_record import BootstrapRecord
from units.errors import Fatal, Refused, Retryable
from units.etcd_backup import BackupMeta, SnapshotFacts, is_due, parse_name

pytestmark = pytest.mark.slow


def body(objects, key: str) -> bytes:
    return objects.Object(key).get()["Body"].read()


def test_a_backup_is_the_database_with_its_trailer_and_a_meta_that_tells_of_it(
    taker: BackupTaker, one: RealCluster, objects, place: Path
) -> None:
    one.put_many(20, 100)
    backup = taker.take(None, "test")
    folder = f"demo/etcd/main/backups/{backup.name}"
    content = body(objects, f"{folder}/snapshot.db")
    assert hashlib.sha256(content[:-32]).digest() == content[-32:]
    meta = json.loads(body(objects, f"{folder}/meta.json"))
    assert meta["sha256"] == hashlib.sha256(content).hexdigest()
    assert (meta["size"], meta["reason"], meta["members"]) == (len(content), "test", 1)
    assert meta["keys"] >= 20
    assert parse_name(backup.name)[1] == meta["revision"] > 20
    assert [entry.name for entry in place.iterdir()] == [".etcd-lock"]


def test_a_backup_is_listed_and_the_next_one_is_due_only_later(taker: BackupTaker, bucket: BackupBucket) -> None:
    assert bucket.backups() == ()
    backup = taker.take(None, "test")
    kept = bucket.backups()
    assert [(one.name, one.complete, one.tested, one.size) for one in kept] == [
        (backup.name, True, False, backup.meta.size)
    ]
    assert not is_due(kept, taker.now())
    assert bucket.meta(backup.name) == backup.meta


def test_a_backup_below_the_last_ones_revision_is_refused_and_not_stored(
    taker: BackupTaker, bucket: BackupBucket, one: RealCluster, s3
) -> None:
    one.put_many(1, 1)
    backup = taker.take(None, "test")
    later = backup.meta.model_copy(update={"revision": backup.meta.revision + 1000})
    s3.put(f"demo/etcd/main/backups/{backup.name}/meta.json", later.encode())
    with pytest.raises(Refused) as caught:
        taker.take(None, "again")
    assert caught.value.code == "etcd-backup-older"
    assert [kept.name for kept in bucket.backups()] == [backup.name]


def test_the_backups_of_a_cluster_that_had_this_name_before_refuse_nothing(
    taker: BackupTaker, bucket: BackupBucket, one: RealCluster, s3
) -> None:
    backup = taker.take(None, "test")
    old = backup.meta.model_copy(update={"revision": backup.meta.revision + 1000, "token": "of another cluster"})
    s3.put(f"demo/etcd/main/backups/{backup.name}/meta.json", old.encode())
    one.put_many(1, 1)
    assert taker.take(None, "again").name == bucket.backups()[0].name


class OldSnapshotToolsDouble(EtcdTools):
    """etcdutl, of a file that is older than what the member had when it was asked."""

    def snapshot_facts(self, path: Path) -> SnapshotFacts:
        found = super().snapshot_facts(path)
        return replace(found, revision=found.revision - 1)


def test_a_snapshot_older_than_the_moment_it_was_asked_for_is_not_stored(
    taker: BackupTaker, bucket: BackupBucket, one: RealCluster, tools: EtcdTools
) -> None:
    one.put_many(2, 1)
    old = OldSnapshotToolsDouble(folders=(str(Path(tools.server).parent),))
    with pytest.raises(Retryable) as caught:
        replace(taker, tools=old).take(None, "test")
    assert caught.value.code == "etcd-backup-behind"
    assert bucket.backups() == ()


class NodeEtcdDouble(NodeEtcd):
    """With the test's certificates instead of the machine's."""

    def __init__(self, s3: S3, taker: BackupTaker) -> None:
        super().__init__(s3, "demo/", cluster="demo", now=lambda: datetime.now(UTC) + self.later)
        self.by, self.later = taker, timedelta(0)

    def taker(self, etcd: str, client_urls: Sequence[str]) -> BackupTaker:
        del etcd, client_urls
        return self.by


def test_a_young_backup_of_the_same_generation_is_as_good_as_another(
    taker: BackupTaker, one: RealCluster, s3: S3, bucket: BackupBucket
) -> None:
    record = BootstrapRecord(state="established", generation=1, token="t1", volumes={}, created_by="i-1")
    s3.put("demo/etcd/main/cluster.json", record.encode())
    one.etcdctl("put", "/bootwright/cluster", "t1")
    node = NodeEtcdDouble(s3, taker)
    first = node.backup("main", (), "before", young=300)
    assert node.backup("main", (), "before", young=300) == first
    one.put_many(1, 1)
    assert node.backup("main", (), "before") != first, "whoever wants one of now gets it"
    node.later = timedelta(seconds=301)
    one.put_many(1, 1)
    node.backup("main", (), "before", young=300)
    assert len(bucket.backups()) == 3
    node.later = timedelta(0)
    s3.put("demo/etcd/main/cluster.json", record.model_copy(update={"generation": 2, "token": "t2"}).encode())
    one.etcdctl("put", "/bootwright/cluster", "t2")
    node.backup("main", (), "before", young=300)
    assert len(bucket.backups()) == 4


def damaged(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    match how:
        case "a flipped bit":
            content[len(content) // 2] ^= 1
        case "a flipped bit of the trailer":
            content[-1] ^= 1
        case "cut by a page":
            del content[-512:]
        case "without its trailer":
            del content[-32:]
        case "empty":
            content.clear()
    path.write_bytes(content)


@pytest.mark.parametrize(
    "how", ["a flipped bit", "a flipped bit of the trailer", "cut by a page", "without its trailer", "empty"]
)
def test_a_snapshot_that_is_not_whole_is_no_snapshot(taker: BackupTaker, objects, tmp_path: Path, how: str) -> None:
    backup = taker.take(None, "test")
    path = tmp_path / "snapshot.db"
    path.write_bytes(body(objects, f"demo/etcd/main/backups/{backup.name}/snapshot.db"))
    assert prove(path).sha256 == backup.meta.sha256
    damaged(path, how)
    with pytest.raises(Fatal) as caught:
        prove(path)
    assert caught.value.code == "etcd-snapshot-damaged"


def test_etcdutl_itself_would_have_accepted_a_flipped_bit(taker: BackupTaker, objects, tmp_path: Path) -> None:
    """Why we check: the day this fails, etcd's own tool has learnt it."""
    backup = taker.take(None, "test")
    path = tmp_path / "snapshot.db"
    path.write_bytes(body(objects, f"demo/etcd/main/backups/{backup.name}/snapshot.db"))
    damaged(path, "a flipped bit of the trailer")
    assert taker.tools.snapshot_facts(path).revision == backup.meta.revision


def test_a_backup_that_s3_does_not_hold_as_sent_has_no_meta(taker: BackupTaker, bucket: BackupBucket, s3) -> None:
    class Forgetful:  # a double: an S3 that answers 200 and keeps something else
        def __getattr__(self, name: str):
            return getattr(s3, name)

        def put_file(self, key: str, file, **_: object) -> None:
            s3.put(key, b"something else")

    broken = replace(taker, bucket=BackupBucket(Forgetful(), "demo/", "main"))
    with pytest.raises(Fatal) as caught:
        broken.take(None, "test")
    assert caught.value.code == "etcd-backup-not-stored"
    assert [kept.complete for kept in bucket.backups()] == [False]


def test_without_room_nothing_is_written_and_the_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(Retryable) as caught, workspace(2**60, (tmp_path,)):
        pass
    assert caught.value.code == "etcd-no-room"
    assert str(tmp_path) in caught.value.message


def test_what_a_killed_agent_left_behind_is_swept(tmp_path: Path) -> None:
    left = tmp_path / ".etcd-abcdef"
    left.mkdir()
    (left / "snapshot.db").write_bytes(b"x")
    with workspace(1, (tmp_path,)) as folder:
        assert not left.exists()
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_a_good_backup_restores_with_every_key_and_that_is_stored_beside_it(
    taker: BackupTaker, tester: RestoreTester, bucket: BackupBucket, one: RealCluster
) -> None:
    one.put_many(50, 100)
    backup = taker.take(None, "test")
    outcome = tester.test(backup.name, backup.meta)
    assert outcome.problem == ""
    assert outcome.ok
    assert outcome.keys == backup.meta.keys >= 50
    assert outcome.revision >= backup.meta.revision + 1_000_000_000
    assert bucket.test(backup.name) == outcome
    assert bucket.backups()[0].tested
    newest = bucket.newest_test()
    assert newest is not None
    assert newest[0] == backup.name


def test_a_backup_whose_bytes_rotted_fails_its_test(
    taker: BackupTaker, tester: RestoreTester, objects, bucket: BackupBucket
) -> None:
    backup = taker.take(None, "test")
    key = f"demo/etcd/main/backups/{backup.name}/snapshot.db"
    content = bytearray(body(objects, key))
    content[5000] ^= 1
    objects.put_object(Key=key, Body=bytes(content))
    outcome = tester.test(backup.name, backup.meta)
    assert not outcome.ok
    assert "etcd-backup-damaged" in outcome.problem
    assert bucket.test(backup.name) == outcome


def test_a_backup_that_lacks_keys_fails_its_test(taker: BackupTaker, tester: RestoreTester) -> None:
    backup = taker.take(None, "test")
    more: BackupMeta = backup.meta.model_copy(update={"keys": backup.meta.keys + 1})
    outcome = tester.test(backup.name, more)
    assert not outcome.ok
    assert f"{backup.meta.keys} keys, but there were {more.keys}" in outcome.problem


def test_a_member_that_does_not_start_with_it_is_told_with_its_last_words(
    taker: BackupTaker, tester: RestoreTester
) -> None:
    backup = taker.take(None, "test")
    broken = replace(tester, server="/nowhere.pem")
    outcome = broken.test(backup.name, backup.meta)
    assert not outcome.ok
    assert "etcd-backup-unusable" in outcome.problem
