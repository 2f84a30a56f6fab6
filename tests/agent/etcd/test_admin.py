"""The client against real etcd: three members on loopback, TLS, client certificates."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.etcd.admin import EtcdClients, GatewayAdmin, versions_at
from agent.etcd.gateway import Gateway
from agent.etcd.gateway_errors import EtcdRefusal, Unreachable
from agent.etcd.keys import Keys
from agent.etcd.maintenance import (
    compact,
    count_keys,
    defragment,
    list_alarms,
    member_status,
    move_leader,
)
from agent.etcd.wire import encoded
from agent.waits import Waits
from tests.real_etcd.cluster import RealCluster, free_ports, real_cluster
from units.errors import Retryable
from units.etcd_members import EtcdAdmin

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with real_cluster(tmp_path_factory.mktemp("three"), ("a", "b", "c")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def clients(three: RealCluster) -> EtcdClients:
    return EtcdClients(three.client_urls, three.pki.authorities, three.pki.client)


@pytest.fixture
def gateway(clients: EtcdClients) -> Iterator[Gateway]:
    with clients.gateway() as gateway:
        yield gateway


@pytest.fixture
def admin(clients: EtcdClients, gateway: Gateway) -> EtcdAdmin:
    return GatewayAdmin(clients, gateway)


def test_the_versions_are_those_of_the_members_that_answer(clients: EtcdClients) -> None:
    (version,) = set(versions_at(clients))
    assert version.startswith("3.5.")
    (silent,) = free_ports(1)
    assert versions_at(clients.at(clients.urls[0], f"https://127.0.0.1:{silent}")) == (version,)
    assert versions_at(clients.at()) == ()


def test_a_view_shows_every_member_with_its_health_and_the_leader(admin: EtcdAdmin, three: RealCluster) -> None:
    view = admin.view()
    assert {member.name for member in view.members} == {"a", "b", "c"}
    assert all(member.healthy and not member.learner for member in view.members)
    assert view.has_quorum
    assert view.version == "3.5"
    leader = next(member for member in view.members if member.id == view.leader)
    assert leader.name == three.leader()
    assert view.at(three.members["b"].peer_url).name == "b"


def test_an_endpoint_that_is_down_is_passed_over_and_then_asked_last(clients: EtcdClients, three: RealCluster) -> None:
    dead = f"https://127.0.0.1:{free_ports(1)[0]}"
    with clients.at(dead, *three.client_urls).gateway() as gateway:
        assert member_status(gateway).leader != 0
        assert gateway._urls[0] == three.client_urls[0]


def test_with_no_endpoint_alive_every_one_is_named(clients: EtcdClients) -> None:
    one, two = (f"https://127.0.0.1:{port}" for port in free_ports(2))
    with clients.at(one, two).gateway() as gateway, pytest.raises(Unreachable) as caught:
        member_status(gateway)
    assert one in caught.value.message
    assert two in caught.value.message
    assert caught.value.code == "etcd-unreachable"


def test_a_server_of_another_authority_is_not_believed(clients: EtcdClients, three: RealCluster) -> None:
    foreign = str(three.pki.folder / "etcd-peers.crt")
    with (
        EtcdClients(clients.urls, foreign, clients.credential).gateway() as gateway,
        pytest.raises(Unreachable, match=r"(?i)certificate"),
    ):
        member_status(gateway)


def test_a_missing_client_certificate_is_named(clients: EtcdClients) -> None:
    with pytest.raises(Unreachable, match=r"/nowhere\.pem"):
        EtcdClients(clients.urls, clients.authorities, "/nowhere.pem").gateway()


def test_the_servers_code_and_words_are_kept(gateway: Gateway) -> None:
    with pytest.raises(EtcdRefusal) as caught:
        gateway.call("/v3/cluster/member/remove", {"ID": "1"})
    assert (caught.value.code, caught.value.grpc_code) == ("etcd-member-not-found", 5)
    assert caught.value.said == "etcdserver: member not found"


def test_a_member_that_is_gone_is_removed_without_complaint(admin: EtcdAdmin) -> None:
    admin.remove(1)


def test_promoting_a_voter_changes_nothing(admin: EtcdAdmin) -> None:
    admin.promote(admin.view().members[0].id)


def test_a_learner_that_never_started_is_listed_added_once_and_removed(admin: EtcdAdmin) -> None:
    url = f"https://127.0.0.1:{free_ports(1)[0]}"
    # For five seconds after a start etcd calls the cluster unhealthy (HealthInterval).
    member_id = Waits().until("add", lambda: admin.add_learner(url), limit=30.0, on=EtcdRefusal)
    try:
        assert admin.add_learner(url) == member_id
        added = admin.view().at(url)
        assert added is not None
        assert (added.id, added.learner, added.started, added.healthy) == (member_id, True, False, False)
        with pytest.raises(Retryable) as behind:
            admin.promote(member_id)
        assert behind.value.code == "etcd-learner-behind"
        with pytest.raises(Retryable) as many:
            admin.add_learner(f"https://127.0.0.1:{free_ports(2)[1]}")
        assert many.value.code == "etcd-too-many-learners"
    finally:
        admin.remove(member_id)
    assert admin.view().at(url) is None


def test_a_snapshot_has_the_database_and_its_trailer(admin: EtcdAdmin) -> None:
    import hashlib

    file = io.BytesIO()
    size = admin.snapshot(file)
    data = file.getvalue()
    assert (size, size % 512) == (len(data), 32)
    assert hashlib.sha256(data[:-32]).digest() == data[-32:]


def test_keys_are_counted_as_of_a_revision_unless_it_is_compacted(gateway: Gateway, three: RealCluster) -> None:
    three.put_many(3, 10, prefix="/count/")
    revision, count = member_status(gateway).revision, count_keys(gateway)
    three.put_many(2, 10, prefix="/more/")
    assert count is not None
    assert count_keys(gateway, revision=revision) == count
    assert count_keys(gateway) == count + 2
    newest = member_status(gateway).revision
    compact(gateway, newest)
    compact(gateway, newest)  # a second time is nothing
    assert count_keys(gateway, revision=revision) is None


def test_leadership_moves_to_the_member_that_is_named(
    clients: EtcdClients, three: RealCluster, admin: EtcdAdmin
) -> None:
    view = admin.view()
    leader = next(member for member in view.members if member.id == view.leader)
    other = next(member for member in view.members if member.id != view.leader)
    with clients.at(*leader.client_urls).gateway() as gateway:
        move_leader(gateway, other.id)
    assert three.leader() == other.name


def test_a_member_defragments_and_there_is_no_alarm(gateway: Gateway) -> None:
    defragment(gateway, database_bytes=1_000_000)
    assert list_alarms(gateway) == ()


def test_a_key_is_replaced_only_over_what_was_read(clients: EtcdClients) -> None:
    with Keys(clients) as keys:
        assert keys.get("/t/x") is None
        assert keys.replace("/t/x", None, b"1")
        assert not keys.replace("/t/x", None, b"2")
        assert not keys.replace("/t/x", b"0", b"2")
        assert keys.replace("/t/x", b"1", b"2")
        assert keys.get("/t/x") == b"2"


def test_a_lock_has_one_holder_who_is_named_and_is_free_afterwards(clients: EtcdClients) -> None:
    with Keys(clients, holder="i-first") as first, Keys(clients, holder="i-second") as second:
        with first.locked("defragment"):
            with pytest.raises(Retryable, match="i-first") as caught, second.locked("defragment"):
                pass
            assert caught.value.code == "etcd-locked"
        with second.locked("defragment"):
            pass


def test_the_library_passes_over_an_endpoint_that_is_down(clients: EtcdClients) -> None:
    dead = f"https://127.0.0.1:{free_ports(1)[0]}"
    with Keys(clients.at(dead, *clients.urls)) as keys:
        assert keys.get("/nothing") is None


def test_without_a_quorum_a_view_is_refused_and_the_words_are_kept(tmp_path: Path) -> None:
    with real_cluster(tmp_path, ("a", "b", "c")) as cluster:
        clients = EtcdClients((cluster.members["a"].client_url,), cluster.pki.authorities, cluster.pki.client)
        cluster.kill("b", "c")
        with clients.gateway() as gateway:
            with pytest.raises(Retryable) as caught:
                GatewayAdmin(clients, gateway).view()
            assert caught.value.code in ("etcd-no-quorum", "etcd-unreachable")
            assert member_status(gateway).revision > 0  # a member alone still answers for itself
        with pytest.raises(Retryable, match="no member of etcd serves keys"), Keys(clients):
            pass


def test_encoded_takes_text_and_bytes() -> None:
    assert encoded("a") == encoded(b"a") == "YQ=="
