"""The care of real members: room made in the right order, leadership handed on, corruption left to a person."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.etcd.admin import EtcdClients, GatewayAdmin
from agent.etcd.care import Carer, step_down
from agent.etcd.gateway_errors import EtcdRefusal
from agent.etcd.health import etcd_health
from agent.etcd.here import EtcdHere
from agent.etcd.keys import Keys
from agent.etcd.live import late_backup, look_live
from agent.etcd.maintenance import Alarm, disarm, list_alarms, member_status
from agent.etcd.metrics import quantile
from agent.etcd.wire import encoded
from agent.linux.probes import LoopbackProbes
from agent.waits import Waits
from tests.real_etcd.cluster import RealCluster, real_cluster
from units.errors import Retryable
from units.status import EtcdState

pytestmark = pytest.mark.slow
QUOTA = 20 * 1024 * 1024


@pytest.fixture
def three(tmp_path: Path) -> Iterator[RealCluster]:
    with real_cluster(tmp_path / "three", ("a", "b", "c"), quota=QUOTA) as cluster:
        yield cluster


def clients_of(cluster: RealCluster, *names: str) -> EtcdClients:
    urls = tuple(cluster.members[name].client_url for name in names or cluster.members)
    return EtcdClients(urls, cluster.pki.authorities, cluster.pki.client)


def carer(cluster: RealCluster, name: str, said: list[str] | None = None) -> Carer:
    return Carer(
        clients_of(cluster, name), clients_of(cluster), QUOTA, Waits(), (said if said is not None else []).append
    )


def fill(cluster: RealCluster) -> None:
    """One key over and over: history fills the quota, as events do to a cluster that nobody compacts."""
    value = encoded(b"x" * 500_000)
    with clients_of(cluster).gateway() as gateway:
        for _ in range(100):
            try:
                gateway.call("/v3/kv/put", {"key": encoded("/history"), "value": value})
            except EtcdRefusal as error:
                assert error.code == "etcd-no-space"  # noqa: PT017  which of the hundred is etcd's business
                return
    pytest.fail("the quota was never reached")


def put_works(cluster: RealCluster) -> bool:
    try:
        with clients_of(cluster).gateway() as gateway:
            gateway.call("/v3/kv/put", {"key": encoded("/after"), "value": encoded("1")})
    except EtcdRefusal:
        return False
    return True


def test_a_full_cluster_takes_writes_again_and_the_leader_is_defragmented_last(three: RealCluster) -> None:
    fill(three)
    assert not put_works(three)
    leader = three.leader()
    said: list[str] = []
    done = carer(three, leader, said).care()
    assert put_works(three)
    with clients_of(three).gateway() as gateway:
        assert list_alarms(gateway) == ()
        assert member_status(gateway).database_bytes < QUOTA / 2
    assert said == list(done)
    kinds = [text.split()[0] for text in done]
    assert kinds[:4] == ["compacted", "defragmented", "defragmented", "defragmented"]
    assert set(kinds[4:]) == {"disarmed"}
    assert done[3].startswith(f"defragmented {leader}:")
    assert "history" in three.etcdctl("get", "/history", "--keys-only")


def test_disarming_first_is_of_no_use(three: RealCluster) -> None:
    """Why the order matters: the day this fails, etcd has learnt to give space back by itself."""
    fill(three)
    with clients_of(three).gateway() as gateway:
        for alarm in list_alarms(gateway):
            disarm(gateway, alarm)
    fill(three)


def test_only_the_leaders_machine_cares(three: RealCluster) -> None:
    fill(three)
    follower = next(name for name in three.members if name != three.leader())
    assert carer(three, follower).care() == ()
    assert not put_works(three)


def test_a_full_etcd_grants_no_lock(three: RealCluster) -> None:
    """Why care takes none then: the day this fails, it could."""
    fill(three)
    with (
        Keys(clients_of(three)) as keys,
        pytest.raises(Retryable, match="database space exceeded"),
        keys.locked("care"),
    ):
        pass


def test_a_corrupt_cluster_is_told_and_left_alone(three: RealCluster) -> None:
    with clients_of(three).gateway() as gateway:
        member_id = member_status(gateway).member_id
        gateway.call("/v3/maintenance/alarm", {"action": "ACTIVATE", "memberID": str(member_id), "alarm": "CORRUPT"})
    assert carer(three, three.leader()).care() == ()
    here = here_of(three, "a")
    live = look_live(here, datetime.now(UTC))
    assert not live.state.ready
    assert live.state.alarms == ("CORRUPT on a",)
    assert [one.code for one in live.conditions] == ["etcd-corrupt"]
    with clients_of(three).gateway() as gateway:
        assert [alarm.kind for alarm in list_alarms(gateway)] == ["CORRUPT"]
        with pytest.raises(ValueError, match="never disarmed"):
            disarm(gateway, Alarm(member_id, "CORRUPT"))


def test_a_leader_that_stops_hands_leadership_on_first(three: RealCluster) -> None:
    leader = three.leader()
    assert step_down(clients_of(three, leader)).startswith("leadership moved to ")
    assert three.leader() != leader
    assert step_down(clients_of(three, leader)) == "does not lead"


def test_a_leader_without_others_stays(tmp_path: Path) -> None:
    with real_cluster(tmp_path / "one") as cluster:
        assert step_down(clients_of(cluster)) == "leads, and nobody else can"


def here_of(cluster: RealCluster, name: str) -> EtcdHere:
    member = cluster.members[name]
    return EtcdHere(
        "main",
        name,
        clients_of(cluster, name),
        clients_of(cluster),
        member.metrics_url,
        cluster.pki.server,
        member.data.parent,
        QUOTA,
    )


def test_a_look_tells_members_leader_term_sizes_and_the_disks_latency(three: RealCluster) -> None:
    three.put_many(50, 100)
    state = look_live(here_of(three, "a"), datetime.now(UTC), device="/dev/nvme1n1", volume_id="vol-1").state
    assert (state.ready, state.leader, state.member) == (True, three.leader(), "a")
    assert [member.name for member in sorted(state.members, key=lambda one: one.name)] == ["a", "b", "c"]
    assert all(member.healthy and member.database_bytes >= member.in_use_bytes > 0 for member in state.members)
    assert state.revision > 50
    assert state.term > 1
    assert state.fsync_p99_ms is not None
    assert 0 < state.fsync_p99_ms < 10_000
    assert (state.volume_id, state.device) == ("vol-1", "/dev/nvme1n1")


def test_a_look_at_a_cluster_without_quorum_names_who_is_missing(three: RealCluster) -> None:
    three.kill("b", "c")
    live = look_live(here_of(three, "a"), datetime.now(UTC))
    state = live.state
    assert not state.ready
    assert "etcd-no-quorum" in [one.code for one in live.conditions]
    missing = {member.name for member in state.members if not member.healthy}
    assert {"b", "c"} <= missing


def test_a_look_at_an_etcd_that_is_down_says_so(three: RealCluster) -> None:
    three.kill()
    live = look_live(here_of(three, "a"), datetime.now(UTC))
    assert not live.state.ready
    assert "no member of etcd answers" in live.state.detail
    assert [one.code for one in live.conditions] == ["etcd-no-quorum"]


def becomes_a_learner(cluster: RealCluster, name: str) -> None:
    """Its data is gone, and it begins anew; nobody lets it vote yet."""
    others = clients_of(cluster, *(other for other in cluster.members if other != name))
    cluster.kill(name)
    shutil.rmtree(cluster.members[name].data)
    with others.gateway() as gateway:
        admin = GatewayAdmin(others, gateway)
        gone = next(one.id for one in admin.view().members if one.name == name)
        admin.remove(gone)
        url = cluster.members[name].peer_url
        Waits().until("add", lambda: admin.add_learner(url), limit=30.0, on=EtcdRefusal)
    cluster.start(name, state="existing")

    def runs() -> None:
        with clients_of(cluster, name).gateway() as gateway:
            if not member_status(gateway).leader:
                raise Retryable("not-yet", "it knows no leader")

    Waits().until("the learner", runs, limit=60.0, on=Retryable)


def test_a_learner_says_that_it_is_one_and_claims_no_lost_quorum(three: RealCluster) -> None:
    becomes_a_learner(three, "b")
    live = look_live(here_of(three, "b"), datetime.now(UTC))
    assert live.conditions == ()
    assert (live.state.ready, live.state.leader) == (False, three.leader())
    assert "this member is a learner" in live.state.detail
    assert [one.name for one in live.state.members if one.learner] == ["b"]
    member = three.members["b"]
    ports = {"client_port": member.client_port, "metrics_port": member.metrics_port}
    health = etcd_health("main", **ports, probes=LoopbackProbes(), clients=clients_of(three, "b"))
    assert not health.ready
    assert "this member is a learner" in health.detail
    three.kill("a", "c")
    alone = look_live(here_of(three, "b"), datetime.now(UTC))
    assert [one.code for one in alone.conditions] == ["etcd-no-quorum"]


METRICS = """\
# TYPE x histogram
x_bucket{le="0.001"} 90
x_bucket{le="0.002"} 98
x_bucket{le="0.004"} 100
x_bucket{le="+Inf"} 100
x_sum 1
"""


def test_a_quantile_is_taken_within_its_bucket() -> None:
    assert quantile(METRICS, "x", 0.99) == pytest.approx(0.003)
    assert quantile(METRICS, "x", 0.5) == pytest.approx(0.001 * 50 / 90)
    assert quantile(METRICS.replace(" 100", " 99", 1), "x", 0.995) == 0.004
    assert quantile("", "x", 0.99) is None
    assert quantile('x_bucket{le="+Inf"} 0', "x", 0.99) is None
    assert quantile('x_bucket{le="one"} 0', "x", 0.99) is None


def test_a_backup_is_late_after_three_turns_and_a_ready_cluster_without_one_is_told() -> None:
    now = datetime.now(UTC)
    state = EtcdState(name="main", ready=True)
    assert [one.code for one in late_backup(state, now)] == ["etcd-backup-late"]
    assert late_backup(replace_state(state, ready=False), now) == ()
    fresh = replace_state(state, backup_at=(now - timedelta(minutes=20)).isoformat())
    assert late_backup(fresh, now) == ()
    old = replace_state(state, backup_at=(now - timedelta(minutes=50)).isoformat())
    assert "50 minutes old" in late_backup(old, now)[0].message


def replace_state(state: EtcdState, **changes: object) -> EtcdState:
    return state.model_copy(update=changes)
