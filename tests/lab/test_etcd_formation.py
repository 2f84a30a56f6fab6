"""Three machines in three zones form one etcd cluster with nobody coordinating them, whatever happens to the power."""

import os
import random
import time
from collections.abc import Iterator

import pytest

from tests.lab.ha import MEMBERS, HaCluster, ha_cluster

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(3600)]

SEEDS = int(os.environ.get("BOOTWRIGHT_LAB_SEEDS", "3"))  # 20 in the nightly run


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HaCluster]:
    with ha_cluster(tmp_path_factory.mktemp("formation")) as cluster:
        yield cluster


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_cluster_forms_from_nothing_though_all_lose_power_at_some_moment(cluster: HaCluster, seed: int) -> None:
    chance = random.Random(seed)
    if cluster.nodes:
        cluster.start_over()
    for member in chance.sample(MEMBERS, len(MEMBERS)):
        cluster.launch(member)
        time.sleep(chance.uniform(0.0, 15.0))
    time.sleep(chance.uniform(0.0, 45.0))
    for member in chance.sample(MEMBERS, len(MEMBERS)):
        cluster.power_cut(member)
    cluster.wait_until_ready()
    cluster.is_whole()
    cluster.nodes["a"].etcdctl("put", "lab/formed", f"seed-{seed}")
    for node in cluster.nodes.values():
        assert node.etcdctl("get", "lab/formed", "--print-value-only") == f"seed-{seed}"
