"""Backups listed, a restore shown before it is begun, and begun only on what was shown."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coordinator.cli import run
from coordinator.directory_store import DirectoryStore
from coordinator.etcd_backups import read_backups
from coordinator.etcd_restore import begin_restore, plan_restore
from coordinator.store import Store
from units.bootstrap_record import BootstrapRecord, RestoreFrom, decode_record
from units.errors import Invalid, Refused
from units.etcd_backup import BackupMeta, BackupTest, backup_name
from units.status import EtcdState, NodeStatus, encode_status

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
KEY = "etcd/main/cluster.json"
RECORD = BootstrapRecord(
    state="established",
    generation=1,
    token="token-g1",
    volumes={"a": "vol-a", "b": "vol-b", "c": "vol-c"},
    started=("a", "b", "c"),
    created_by="i-1",
)


def put_backup(
    store: Store,
    minutes_ago: int,
    revision: int,
    *,
    test: bool | None = None,
    cluster: str = "demo",
    size: int = 5,
    generation: int = 1,
    token: str = "token-g1",
    etcd_version: str = "3.5.16",
) -> str:
    taken = NOW - timedelta(minutes=minutes_ago)
    name = backup_name(taken, revision)
    meta = BackupMeta(
        cluster=cluster,
        etcd="main",
        etcd_version=etcd_version,
        generation=generation,
        token=token,
        revision=revision,
        size=size,
        sha256="ab" * 32,
        keys=7,
        versions=9,
        members=3,
        member="1",
        taken=taken.isoformat(),
        reason="every 15 minutes",
    )
    folder = f"etcd/main/backups/{name}"
    store.put(f"{folder}/snapshot.db", b"12345")
    store.put(f"{folder}/meta.json", meta.encode())
    if test is not None:
        outcome = BackupTest(ok=test, at=NOW.isoformat(), by="i-1", problem="" if test else "it holds no keys")
        store.put(f"{folder}/verified.json", outcome.encode())
    return name


def put_node(store: Store, instance_id: str, member: str, *, ready: bool = True, revision: int = 900) -> None:
    state = EtcdState(name="main", ready=ready, member=member, revision=revision, volume_id=f"vol-{member}")
    status = NodeStatus(
        instance_id=instance_id, role="control-plane", group=f"cp-{member}", stage="ready", etcd=(state,)
    )
    store.put(f"status/{instance_id}.json", encode_status(status))


def found(store: Store) -> BootstrapRecord:
    stored = store.get(KEY)
    assert stored is not None
    return decode_record(stored.body, KEY)


@pytest.fixture
def formed(store: Store) -> Store:
    store.put(KEY, RECORD.encode())
    return store


def test_backups_are_listed_newest_first_with_how_their_test_went(store: Store) -> None:
    oldest = put_backup(store, 60, 100, test=False)
    middle = put_backup(store, 30, 200, test=True)
    newest = put_backup(store, 15, 300)
    store.put("etcd/main/backups/2026-11-23T11:59:00Z-999/snapshot.db", b"an upload that broke off")
    seen = read_backups(store, "main")
    assert [one.kept.name for one in seen] == [newest, middle, oldest]
    assert [one.verdict for one in seen] == ["not tested", "restored", "TEST FAILED: it holds no keys"]
    assert [one.kept.name for one in read_backups(store, "main", limit=1)] == [newest]


def test_a_backup_that_cannot_be_read_hides_no_other(store: Store) -> None:
    good = put_backup(store, 30, 200)
    bad = put_backup(store, 15, 300)
    store.put(f"etcd/main/backups/{bad}/meta.json", b"{")
    seen = {one.kept.name: one for one in read_backups(store, "main")}
    assert seen[good].meta is not None
    assert seen[bad].meta is None
    assert "does not describe a backup" in seen[bad].problem


def test_a_plan_tells_what_happens_where_and_what_is_lost_and_changes_nothing(formed: Store) -> None:
    name = put_backup(formed, 30, 200, test=True)
    for member in ("a", "b"):
        put_node(formed, f"i-{member}", member)
    lost = NodeStatus(instance_id="i-c", role="control-plane", group="cp-c", stage="refused")
    formed.put("status/i-c.json", encode_status(lost))
    formed.put("status/i-w.json", encode_status(NodeStatus(instance_id="i-w", role="node", group="workers")))
    plan = plan_restore(formed, "demo", "main", name, NOW, force=False)
    assert {(one.instance_id, one.member) for one in plan.nodes} == {("i-a", "a"), ("i-b", "b"), ("i-c", "")}
    told = {one.instance_id: one.what for one in plan.nodes}
    assert "vol-a as data.g1" in told["i-a"]
    assert "systemctl restart bootwright-boot" in told["i-c"]
    assert any("700 revisions" in sentence for sentence in plan.lost)
    assert any("30 minutes" in sentence for sentence in plan.lost)
    assert any("healthy" in warning for warning in plan.warnings)
    assert found(formed) == RECORD


def test_latest_is_of_this_cluster_and_not_of_the_one_that_had_its_name_before(formed: Store) -> None:
    foreign = put_backup(formed, 24 * 60, 500_000, token="of-the-old-cluster")
    with pytest.raises(Invalid):
        plan_restore(formed, "demo", "main", "latest", NOW, force=False)
    own = [put_backup(formed, minutes, 1000 - minutes) for minutes in (60, 45)]
    plan = plan_restore(formed, "demo", "main", "latest", NOW, force=False)
    assert plan.name == own[-1]
    assert not any("another cluster" in warning for warning in plan.warnings)
    plan = plan_restore(formed, "demo", "main", foreign, NOW, force=False)
    assert any("another cluster" in warning and "of-the-old-cluster" in warning for warning in plan.warnings)


def test_latest_of_a_generation_without_backups_is_the_highest_of_those_before_it(formed: Store) -> None:
    """The old cluster was in a generation of that number, too; it stored its last backup before this one's first."""
    put_backup(formed, 24 * 60, 7_000_000_000, generation=2, token="of-the-old-cluster-g2")
    first = put_backup(formed, 90, 100)
    second = put_backup(formed, 60, 1_000_000_200, generation=2, token="token-g2")
    record = RECORD.model_copy(update={"state": "restoring", "generation": 3, "token": "token-g3"})
    formed.put(KEY, record.encode())
    assert plan_restore(formed, "demo", "main", "latest", NOW, force=False).name == second
    put_backup(formed, 10, 3, token="of-nobody", generation=4)
    assert plan_restore(formed, "demo", "main", "latest", NOW, force=False).name == second
    assert not any("another" in said for said in plan_restore(formed, "demo", "main", first, NOW, force=False).warnings)


def put_versions(store: Store, **etcd: str) -> None:
    for instance_id, version in etcd.items():
        status = NodeStatus(instance_id=instance_id, role="control-plane", versions={"etcd": version})
        store.put(f"status/{instance_id}.json", encode_status(status))


def now() -> datetime:
    """Of the store, which dates what nodes say."""
    return datetime.now(UTC)


@pytest.mark.parametrize(("taken", "here"), [("3.6.14", "3.5"), ("3.5.33", "3.7")])
def test_a_backup_that_a_nodes_etcd_does_not_read_is_refused_unless_forced(
    formed: Store, taken: str, here: str
) -> None:
    put_versions(formed, a=taken.rpartition(".")[0], b=here)
    name = put_backup(formed, 30, 200, etcd_version=taken)
    with pytest.raises(Refused) as caught:
        plan_restore(formed, "demo", "main", name, now(), force=False)
    assert caught.value.code == "etcd-restore-version"
    assert "b: etcd" in caught.value.message
    assert "a: etcd" not in caught.value.message
    plan = plan_restore(formed, "demo", "main", name, now(), force=True)
    assert any(taken in warning for warning in plan.warnings)


def test_a_backup_of_the_minor_before_is_restored_with_a_warning(formed: Store) -> None:
    put_versions(formed, a="3.6", b="3.5", c="0.0")
    name = put_backup(formed, 30, 200, etcd_version="3.5.33")
    told = [one for one in plan_restore(formed, "demo", "main", name, now(), force=False).warnings if "has etcd" in one]
    assert told == ["a has etcd 3.6, the backup is of 3.5.33"]


def test_machines_that_have_been_silent_for_hours_refuse_no_restore(formed: Store) -> None:
    put_versions(formed, gone="3.5")
    name = put_backup(formed, 30, 200, etcd_version="3.6.14")
    later = now() + timedelta(hours=3)
    assert not any("etcd 3.5" in one for one in plan_restore(formed, "demo", "main", name, later, force=False).warnings)
    unknown = put_backup(formed, 15, 300, etcd_version="?")
    plan = plan_restore(formed, "demo", "main", unknown, now(), force=False)
    assert any("does not say which etcd" in warning for warning in plan.warnings)


def test_a_restore_begins_a_generation_with_a_token_of_its_own_and_no_volumes(formed: Store) -> None:
    name = put_backup(formed, 30, 200)
    plan = plan_restore(formed, "demo", "main", name, NOW, force=False)
    begin_restore(formed, plan, "demo", "alice@desk")
    record = found(formed)
    assert (record.state, record.generation, record.volumes, record.started) == ("restoring", 2, {}, ())
    assert record.restore == RestoreFrom(backup=name, sha256="ab" * 32, size=5, revision=200)
    assert record.token != RECORD.token
    assert record.created_by == "alice@desk"


def test_a_record_that_changed_meanwhile_is_not_overwritten(formed: Store) -> None:
    plan = plan_restore(formed, "demo", "main", put_backup(formed, 30, 200), NOW, force=False)
    changed = RECORD.with_volume("c", "vol-new")
    formed.put(KEY, changed.encode())
    with pytest.raises(Refused) as caught:
        begin_restore(formed, plan, "demo", "alice")
    assert caught.value.code == "etcd-record-changed"
    assert found(formed) == changed


def test_a_second_restore_overtakes_the_first_and_says_so(formed: Store) -> None:
    first, second = put_backup(formed, 60, 100), put_backup(formed, 30, 200)
    begin_restore(formed, plan_restore(formed, "demo", "main", first, NOW, force=False), "demo", "alice")
    plan = plan_restore(formed, "demo", "main", second, NOW, force=False)
    assert any(f"being restored from {first} already" in warning for warning in plan.warnings)
    begin_restore(formed, plan, "demo", "alice")
    assert found(formed).generation == 3


def test_each_generation_begins_beyond_all_revisions_of_the_one_before(formed: Store) -> None:
    """Also with a backup of long ago: a watch from the generation between would wait for revisions that come again."""
    old = put_backup(formed, 600, 200)
    reached = 900  # by the cluster, since the backup
    for generation in (2, 3, 4):
        plan = plan_restore(formed, "demo", "main", old, NOW, force=False)
        assert not any(" revisions: " in sentence for sentence in plan.lost)
        begin_restore(formed, plan, "demo", "alice")
        record = found(formed)
        assert record.generation == generation
        assert record.restore is not None
        begins = record.restore.revision + record.restore.bump
        assert begins > reached
        reached = begins + 900_000_000
        if generation == 2:
            young = put_backup(formed, 5, begins + 7)  # of generation 2: one more is enough for generation 3
    plan = plan_restore(formed, "demo", "main", young, NOW, force=False)
    begin_restore(formed, plan, "demo", "alice")
    restore = found(formed).restore
    assert restore is not None
    assert restore.revision + restore.bump > reached


def test_latest_is_the_newest_whose_test_did_not_fail(formed: Store) -> None:
    put_backup(formed, 60, 100, test=True)
    good = put_backup(formed, 30, 200)
    put_backup(formed, 15, 300, test=False)
    assert plan_restore(formed, "demo", "main", "latest", NOW, force=False).name == good


def test_what_should_not_be_restored_is_refused(formed: Store) -> None:
    failed = put_backup(formed, 15, 300, test=False)
    with pytest.raises(Refused) as caught:
        plan_restore(formed, "demo", "main", failed, NOW, force=False)
    assert caught.value.code == "etcd-backup-test-failed"
    assert plan_restore(formed, "demo", "main", failed, NOW, force=True).name == failed
    for name, code in (
        (put_backup(formed, 20, 301, cluster="other"), "etcd-backup-of-another"),
        (put_backup(formed, 21, 302, size=6), "etcd-backup-damaged"),
    ):
        with pytest.raises(Refused) as caught:
            plan_restore(formed, "demo", "main", name, NOW, force=False)
        assert caught.value.code == code


def test_an_unknown_backup_names_the_newest(formed: Store) -> None:
    name = put_backup(formed, 15, 300)
    with pytest.raises(Invalid, match=name) as caught:
        plan_restore(formed, "demo", "main", "yesterday", NOW, force=False)
    assert caught.value.code == "etcd-backup-unknown"


def test_a_cluster_that_was_never_formed_has_nothing_to_restore(store: Store) -> None:
    with pytest.raises(Refused) as caught:
        plan_restore(store, "demo", "main", put_backup(store, 15, 300), NOW, force=False)
    assert caught.value.code == "etcd-record-missing"


def test_the_command_shows_first_and_does_it_only_with_yes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = DirectoryStore(tmp_path / "clusters/demo")
    store.put(KEY, RECORD.encode())
    name = put_backup(store, 30, 200)
    where = ["--store", f"file://{tmp_path / 'clusters'}", "--cluster", "demo"]
    assert run(["etcd", "backups", *where, "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["backups"]] == [name]
    assert run(["etcd", "backups", *where]) == 0
    assert name in capsys.readouterr().out
    assert run(["etcd", "restore", "--backup", name, *where]) == 0
    assert "nothing was changed; add --yes" in capsys.readouterr().err
    assert found(store) == RECORD
    assert run(["etcd", "restore", "--backup", "nonsense", "--yes", *where]) == 2
    assert found(store) == RECORD
    assert run(["etcd", "restore", "--backup", name, "--yes", *where]) == 0
    assert found(store).generation == 2
