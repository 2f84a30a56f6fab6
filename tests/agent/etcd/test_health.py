"""What `agent status` says of etcd, against a real member."""

from pathlib import Path

import pytest

from agent.etcd.admin import EtcdClients
from agent.etcd.health import etcd_health
from agent.linux.probes import LoopbackProbes
from tests.real_etcd.cluster import RealCluster, free_ports, real_cluster

pytestmark = pytest.mark.slow


def clients_of(cluster: RealCluster) -> EtcdClients:
    return EtcdClients((cluster.members["a"].client_url,), cluster.pki.authorities, cluster.pki.client)


def test_a_healthy_member_tells_version_leader_members_and_size(tmp_path: Path) -> None:
    with real_cluster(tmp_path) as cluster:
        member = cluster.members["a"]
        found = etcd_health(
            "main",
            client_port=member.client_port,
            metrics_port=member.metrics_port,
            probes=LoopbackProbes(),
            clients=clients_of(cluster),
        )
        assert (found.ready, found.leader, found.members) == (True, "a", 1)
        assert found.version.startswith("3.")
        assert found.database_bytes > 0


def test_a_member_that_does_not_run_is_told_with_the_command_that_shows_why() -> None:
    port = free_ports(1)[0]
    found = etcd_health("main", client_port=port, metrics_port=port, probes=LoopbackProbes())
    assert not found.ready
    assert "journalctl -u bootwright-etcd-main" in found.detail


def test_a_client_without_a_certificate_is_told_and_nothing_is_raised(tmp_path: Path) -> None:
    with real_cluster(tmp_path) as cluster:
        member = cluster.members["a"]
        clients = EtcdClients((member.client_url,), cluster.pki.authorities, str(tmp_path / "none.pem"))
        found = etcd_health(
            "main", client_port=1, metrics_port=member.metrics_port, probes=LoopbackProbes(), clients=clients
        )
        assert not found.ready
        assert "none.pem" in found.detail
