"""The timer's rounds over a real member and moto's S3, and the screen that tells of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.etcd.admin import EtcdClients
from agent.etcd.backup import BackupTaker
from agent.etcd.bucket import BackupBucket
from agent.etcd.here import EtcdHere
from agent.etcd.live import Live, look_live, with_backups
from agent.etcd.rounds import back_up, care_and_tell, care_for
from agent.etcd.screen import print_etcd
from agent.etcd.trial import RestoreTester
from agent.waits import Waits
from tests.agent.etcd.conftest import clients_of
from tests.real_etcd.cluster import RealCluster
from units.bootstrap_record import BootstrapRecord
from units.errors import Retryable
from units.etcd_care import no_quorum
from units.etcd_conditions import failed_test
from units.status import Condition, EtcdState

pytestmark = pytest.mark.slow
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
RECORD = BootstrapRecord(state="established", generation=1, token="token-g1", volumes={}, created_by="i-1")


@dataclass
class NodeDouble:
    """`agent.etcd.node.EtcdNode` without an enrolment: its bucket, and who takes and tests backups."""

    store: BackupBucket
    by: BackupTaker
    with_tester: RestoreTester
    begun: BootstrapRecord = RECORD

    @property
    def access(self) -> Any:
        return self

    def bucket(self, _etcd: str) -> BackupBucket:
        return self.store

    def record(self, _etcd: str) -> BootstrapRecord:
        return self.begun

    def taker(self, _etcd: str, urls: Sequence[str]) -> BackupTaker:
        return replace(self.by, clients=self.by.clients.at(*urls))

    def tester(self, _here: EtcdHere) -> RestoreTester:
        return self.with_tester


@pytest.fixture
def node(bucket: BackupBucket, taker: BackupTaker, tester: RestoreTester) -> Any:
    return NodeDouble(bucket, taker, tester)


@pytest.fixture
def here(one: RealCluster) -> EtcdHere:
    member = one.members["a"]
    clients: EtcdClients = clients_of(one)
    one.put_many(3, 10)
    one.etcdctl("put", "/bootwright/cluster", RECORD.token)
    return EtcdHere("main", "a", clients, clients, member.metrics_url, one.pki.server, member.data.parent, 2**33)


def test_a_scheduled_backup_is_taken_once_and_one_asked_for_always(node: Any, here: EtcdHere) -> None:
    assert back_up(node, here, scheduled=True, reason="").startswith("backup ")
    assert back_up(node, here, scheduled=True, reason="") == "the next backup is not due yet"
    assert len(node.store.backups()) == 1
    assert node.store.meta(node.store.backups()[0].name).reason == "every 15 minutes"
    back_up(node, here, scheduled=False, reason="before member b is replaced")
    assert node.store.meta(node.store.backups()[0].name).reason == "before member b is replaced"


def test_no_backup_of_the_old_data_is_labelled_with_a_generation_that_is_being_restored(
    node: Any, here: EtcdHere, one: RealCluster
) -> None:
    token = {"generation": 2, "token": "token-g2"}
    node.begun = RECORD.model_copy(update={"state": "restoring", **token})
    assert back_up(node, here, scheduled=True, reason="") == "no backup while generation 2 is being restored"
    with pytest.raises(Retryable) as caught:
        back_up(node, here, scheduled=False, reason="by hand")
    assert caught.value.code == "etcd-backup-of-no-generation"
    assert "'token-g1'" in caught.value.message
    node.begun = RECORD.model_copy(update=token)  # established, but not by whom this member knows
    with pytest.raises(Retryable, match="token-g2"):
        back_up(node, here, scheduled=True, reason="")
    assert node.store.backups() == ()
    one.etcdctl("put", "/bootwright/cluster", "token-g2")
    back_up(node, here, scheduled=True, reason="")
    meta = node.store.meta(node.store.backups()[0].name)
    assert (meta.generation, meta.token) == (2, "token-g2")


def test_the_newest_backup_is_tested_once_a_day_and_a_failure_is_told(node: Any, here: EtcdHere) -> None:
    back_up(node, here, scheduled=True, reason="")
    done, errors = care_for(node, here, Waits())
    assert errors == ()
    assert len(done) == 1
    assert "was restored as a test" in done[0]
    assert care_for(node, here, Waits()) == ((), ())


def test_a_backup_that_cannot_be_restored_is_an_error_with_a_remedy(node: Any, here: EtcdHere, s3: Any) -> None:
    back_up(node, here, scheduled=True, reason="")
    name = node.store.backups()[0].name
    s3.put(f"demo/etcd/main/backups/{name}/snapshot.db", b"rotten")
    done, errors = care_for(node, here, Waits())
    assert done == ()
    assert [error.code for error in errors] == ["etcd-backup-test-failed"]
    assert errors[0].remedy


def test_a_failed_test_stays_told_and_the_next_backup_is_tested_at_once(
    node: Any, here: EtcdHere, one: RealCluster, s3: Any
) -> None:
    back_up(node, here, scheduled=True, reason="")
    s3.put(f"demo/etcd/main/backups/{node.store.backups()[0].name}/snapshot.db", b"rotten")
    care_for(node, here, Waits())
    for _look in range(2):
        state = with_backups(look_live(here, datetime.now(UTC)).state, node.store, RECORD)
        assert [told.code for told in failed_test(state)] == ["etcd-backup-test-failed"]
        assert care_for(node, here, Waits()) == ((), ()), "the same backup is not tried again today"
    one.put_many(1, 10)
    back_up(node, here, scheduled=False, reason="by hand")
    done, errors = care_for(node, here, Waits())
    assert errors == ()
    assert "was restored as a test" in done[0]
    assert failed_test(with_backups(state, node.store, RECORD)) == ()


def test_the_screen_tells_state_backup_and_what_is_wrong(
    node: Any, here: EtcdHere, capsys: pytest.CaptureFixture[str]
) -> None:
    now = datetime.now(UTC)
    back_up(node, here, scheduled=True, reason="")
    care_for(node, here, Waits())
    live = look_live(here, now, device="/dev/nvme1n1", volume_id="vol-1")
    state = with_backups(live.state, node.store, RECORD)
    print_etcd(state, live.conditions, now)
    shown = capsys.readouterr().out
    for text in ("etcd main", "ready", "leader a", "vol-1 on /dev/nvme1n1", "fsync p99", state.backup, "as a test"):
        assert text in shown
    print_etcd(EtcdState(name="events", ready=False, detail="nothing [answers]", alarms=("NOSPACE on a",)), (), now)
    shown = capsys.readouterr().out
    for text in ("NOT READY", "nothing [answers]", "NOSPACE on a", "no backup is known"):
        assert text in shown


@dataclass
class TwoClustersDouble:
    """`EtcdNode` of a machine whose main and events have lost their quorum; keeps what is published."""

    here: EtcdHere
    published: list[Condition] = field(default_factory=list)

    def clusters(self, _only: str | None = None) -> tuple[EtcdHere, ...]:
        nobody = EtcdClients(("https://127.0.0.1:1",), "/nowhere", "/nowhere")
        return tuple(replace(self.here, name=name, own=nobody, all=nobody) for name in ("main", "events"))

    def look(self, here: EtcdHere) -> Live:
        return Live(EtcdState(name=here.name, ready=False), (no_quorum(here.name, "silent", "now"),))

    def publish(self, states: tuple[EtcdState, ...], conditions: tuple[Condition, ...]) -> None:
        assert [state.name for state in states] == ["main", "events"]
        self.published += conditions


def test_what_is_wrong_with_each_cluster_is_told(here: EtcdHere) -> None:
    node = TwoClustersDouble(here)
    care_and_tell(node, None, Waits())  # type: ignore[arg-type]  # a double of EtcdNode
    lost = [one.message for one in node.published if one.code == "etcd-no-quorum"]
    assert [name for name in ("main", "events") if any(f"etcd '{name}'" in message for message in lost)] == [
        "main",
        "events",
    ]
    assert sum(one.code == "etcd-care-failed" for one in node.published) >= 2


@pytest.mark.parametrize(
    ("verified_at", "shown"),
    [
        ((NOW - timedelta(hours=5)).isoformat(), "X was restored as a test 5 h ago\n"),
        ((NOW - timedelta(hours=50)).isoformat(), "X was restored as a test 50 h ago (LATE)"),
        ("rubbish", "X was restored as a test\n"),
    ],
)
def test_the_screen_tells_how_long_ago_a_backup_was_tested(
    verified_at: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    state = EtcdState(name="main", ready=True, backup="X", backup_at=NOW.isoformat(), verified="X")
    print_etcd(state.model_copy(update={"verified_at": verified_at}), (), NOW)
    assert shown in "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines()) + "\n"
