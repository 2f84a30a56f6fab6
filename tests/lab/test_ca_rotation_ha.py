"""With an API server in each of three zones the kubernetes authority is replaced, and no request is lost either."""

from collections.abc import Iterator

import pytest

from tests.lab.ha import HaCluster, ready_ha_cluster
from tests.lab.live import TIMER
from tests.lab.rotation import SYNC, Rotation
from tests.lab.steady_client import SteadyClient, answers

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.nightly, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HaCluster]:
    with ready_ha_cluster(tmp_path_factory.mktemp("ca-rotation-ha")) as cluster:
        yield cluster


def test_while_one_api_server_after_the_other_restarts_every_request_is_answered(cluster: HaCluster) -> None:
    """As docs/operations.md says of phases with several control-plane groups: one node takes it after the other."""
    nodes = list(cluster.nodes.values())
    for node in nodes:
        node.sh(f"systemctl stop {TIMER}")
    names = frozenset(cluster.scenario.status(node.instance_id)["node_name"] for node in nodes)
    rotation, first = Rotation(cluster.scenario), print_kubeconfig(cluster)
    with SteadyClient(first, names) as client:
        for phase in ("add", "sign", "retire"):
            with client.during() as experience:
                rotation.publish(phase)
                for node in nodes:
                    node.sh(SYNC, timeout=600)
                rotation.confirm(nodes)
            print(f"{phase}: {experience}")
            assert experience.refused == []
            assert experience.lost == 0, experience.unanswered
            assert not experience.missing
            assert not experience.not_ready
            client.use(print_kubeconfig(cluster))
    assert not answers(first)
    cluster.is_whole()


def print_kubeconfig(cluster: HaCluster) -> str:
    return cluster.scenario.coordinator("kubeconfig", "--ttl", "4h", capture=True)
