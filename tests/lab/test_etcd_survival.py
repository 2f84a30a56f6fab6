"""An etcd of three machines loses power, machines and a volume while somebody writes; nothing acknowledged is lost."""

import time
from collections.abc import Iterator

import pytest

from tests.lab.ha import MEMBERS, HaCluster, Writer, ready_ha_cluster

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.nightly, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HaCluster]:
    with ready_ha_cluster(tmp_path_factory.mktemp("survival")) as cluster:
        yield cluster


def healed(cluster: HaCluster, writer: Writer) -> None:
    writer.wait_for_more()
    cluster.is_whole()
    for node in cluster.nodes.values():
        assert writer.lost(node) == set()


def test_power_cut_of_the_leader(cluster: HaCluster, writer: Writer) -> None:
    leading = cluster.leader()
    node = cluster.nodes[leading]
    before = node.boot_id()
    begun = time.monotonic()
    node.machine.power_cut()
    writer.wait_for_more()
    print(f"seconds until writes go on: {time.monotonic() - begun:.1f}")
    cluster.scenario.wait_until_ready(node.instance_id, other_boot_than=before)
    cluster.is_whole()
    print(f"seconds from the power cut to three healthy members: {time.monotonic() - begun:.1f}")
    healed(cluster, writer)


def test_power_cut_of_all_at_once(cluster: HaCluster, writer: Writer) -> None:
    before = {member: node.boot_id() for member, node in cluster.nodes.items()}
    for node in cluster.nodes.values():
        node.machine.power_cut()
    for member, node in cluster.nodes.items():
        cluster.scenario.wait_until_ready(node.instance_id, other_boot_than=before[member])
    healed(cluster, writer)


def test_an_instance_is_terminated_and_replaced_and_its_volume_moves(cluster: HaCluster, writer: Writer) -> None:
    ids = {one["name"]: one["ID"] for one in cluster.member_list(cluster.nodes["a"])}
    cluster.terminate("b")
    writer.wait_for_more()
    cluster.launch("b")
    cluster.wait_until_ready("b")
    healed(cluster, writer)
    assert {one["name"]: one["ID"] for one in cluster.member_list(cluster.nodes["a"])} == ids


def test_a_volume_is_lost_and_replaced_by_an_empty_one_without_a_hand(cluster: HaCluster, writer: Writer) -> None:
    ids = {one["name"]: one["ID"] for one in cluster.member_list(cluster.nodes["a"])}
    cluster.terminate("c")
    cluster.delete_volume("c")
    writer.wait_for_more()
    cluster.make_volume("c")
    cluster.launch("c")
    cluster.wait_until_ready("c")
    healed(cluster, writer)
    now = {one["name"]: one["ID"] for one in cluster.member_list(cluster.nodes["a"])}
    assert now["c"] != ids["c"]
    assert (now["a"], now["b"]) == (ids["a"], ids["b"])


def waits_for(cluster: HaCluster, member: str, *words: str) -> None:
    """The node's own status says by name what the machine of this member waits for."""
    node = cluster.nodes[member]

    def said() -> bool:
        if not node.is_reachable():
            return False
        waiting = node.try_sh("cat /run/bootwright/status.json").stdout
        return all(word in waiting for word in words)

    cluster.client.wait_until(f"{node.instance_id} waits for {words}", said, 300)


def test_of_two_candidates_for_one_volume_the_second_waits_by_name_and_takes_over(
    cluster: HaCluster, writer: Writer
) -> None:
    holder = cluster.nodes["b"]
    cluster.launch("b")
    waits_for(cluster, "b", cluster.volumes["b"], f"is held by {holder.instance_id} (running)")
    assert {one["name"] for one in cluster.member_list(holder)} == set(MEMBERS)
    cluster.client.terminate(holder.instance_id)
    cluster.wait_until_ready("b")
    healed(cluster, writer)


def test_a_volume_that_does_not_come_free_is_waited_for_by_name(cluster: HaCluster, writer: Writer) -> None:
    old, volume = cluster.nodes["c"].instance_id, cluster.volumes["c"]
    cluster.client.stick_attachment(volume, "detaching")
    cluster.client.terminate(old)
    cluster.launch("c")
    waits_for(cluster, "c", volume, old)
    writer.wait_for_more()
    cluster.client.clear_fault(volume)
    cluster.wait_until_ready("c")
    healed(cluster, writer)


def test_two_of_three_lost_start_nothing_and_the_status_names_the_restore(cluster: HaCluster) -> None:
    cluster.nodes["a"].etcdctl("put", "lab/precious", "kept")
    cluster.terminate("b", "c")
    for member in ("b", "c"):
        cluster.delete_volume(member)
        cluster.make_volume(member)
    heirs = [cluster.launch(member) for member in ("b", "c")]

    def told() -> bool:
        statuses = [cluster.scenario.status(heir.instance_id) for heir in heirs]
        remedies = [" ".join(c["remedy"] for c in status.get("conditions", ())) for status in statuses]
        return all("coordinator etcd restore --etcd main" in remedy for remedy in remedies)

    cluster.client.wait_until("both say what to do", told, 300)
    for heir in heirs:
        assert heir.sh("systemctl is-active bootwright-etcd-main.service || true") != "active"
        assert heir.sh("ls /var/lib/etcd/main/data/member 2>/dev/null | wc -l") == "0"
    kept = cluster.nodes["a"].etcdctl("get", "lab/precious", "--consistency=s", "--print-value-only")
    assert kept == "kept"
