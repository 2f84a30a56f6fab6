"""Minutes of trouble on three machines while somebody writes: nothing acknowledged is lost, it heals, and says why.

In full length what tests/etcd_machines/test_faults.py has compressed; and what needs a kernel of one's own: the clock.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab.ha import MEMBERS, HaCluster, Writer, ready_ha_cluster
from tests.lab.live import LiveNode
from tests.lab.network import LAB, tap_name

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.nightly, pytest.mark.timeout(3600)]

SPLIT_SECONDS, OUTAGE_SECONDS, HOUR = 60.0, 300.0, 3600
MOUNT = "/var/lib/etcd/main"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HaCluster]:
    with ready_ha_cluster(tmp_path_factory.mktemp("faults")) as cluster:
        yield cluster


def healed(cluster: HaCluster, writer: Writer) -> None:
    writer.wait_for_more()
    for node in cluster.nodes.values():
        cluster.client.wait_until(f"{node.instance_id} serves", lambda node=node: serves(node), 180)  # type: ignore[misc]  # bound now
    cluster.is_whole()
    for node in cluster.nodes.values():
        assert writer.lost(node) == set()


def serves(node: LiveNode) -> bool:
    return node.is_reachable() and bool(seen(node)["ready"])


def seen(node: LiveNode) -> dict[str, Any]:
    (state,) = json.loads(node.agent("etcd", "status", "--json").stdout)
    return dict(state)


def names_it(node: LiveNode, code: str) -> Callable[[], bool]:
    return lambda: code in node.agent("etcd", "status").stdout


def lasting(cluster: HaCluster, writer: Writer, seconds: float) -> None:
    """For so long the trouble goes on, and so do the writes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        writer.wait_for_more()


def unplug(node: LiveNode) -> None:
    """Off the bridge, with its tap up: User-Mode Linux gives up an interface whose tap went down."""
    subprocess.run(["ip", "link", "set", tap_name(node.instance_id), "nomaster"], check=True)


def plug(node: LiveNode) -> None:
    subprocess.run(["ip", "link", "set", tap_name(node.instance_id), "master", LAB.name], check=True)


def test_a_leader_cut_off_for_a_minute_comes_back_as_a_follower(cluster: HaCluster, writer: Writer) -> None:
    cut_off = cluster.nodes[cluster.leader()]
    other = next(node for node in cluster.nodes.values() if node is not cut_off)
    unplug(cut_off)
    try:
        cluster.client.wait_until("the larger side names it", names_it(other, "etcd-member-unhealthy"), 120)
        lasting(cluster, writer, SPLIT_SECONDS)
    finally:
        plug(cut_off)
    healed(cluster, writer)


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_a_machines_clock_steps_by_an_hour_and_back(cluster: HaCluster, writer: Writer, step: int) -> None:
    node = cluster.nodes[cluster.leader()]
    node.sh(f"date --set=@$(( $(date +%s) + {step} ))")
    try:
        lasting(cluster, writer, 30.0)
        assert seen(node)["ready"]
        node.sh("systemctl restart bootwright-etcd-main", timeout=180)
        lasting(cluster, writer, 10.0)
    finally:
        node.sh(f"date --set=@{int(time.time())}")
    healed(cluster, writer)


def test_s3_and_ec2_are_down_for_five_minutes_and_a_machine_reboots_meanwhile(
    cluster: HaCluster, writer: Writer
) -> None:
    node = cluster.nodes["b"]
    before = node.boot_id()
    faults = [cluster.client.fault_api(code="InternalError", service=service) for service in ("s3", "ec2")]
    begun = time.monotonic()
    try:
        node.machine.power_cut()
        writer.wait_for_more()

        def is_back() -> bool:
            return node.is_reachable() and node.boot_id() != before and bool(seen(node)["ready"])

        cluster.client.wait_until("etcd serves again without an API", is_back, 600)
        said = seen(node)["backup_problem"]
        assert "the bucket cannot be asked" in said
        lasting(cluster, writer, max(0.0, OUTAGE_SECONDS - (time.monotonic() - begun)))
    finally:
        for fault in faults:
            cluster.client.clear_fault(fault)
    cluster.scenario.wait_until_ready(node.instance_id, other_boot_than=before)
    healed(cluster, writer)


def test_a_full_disk_under_the_leader_ends_its_etcd_which_comes_back_with_room(
    cluster: HaCluster, writer: Writer
) -> None:
    node = cluster.nodes[cluster.leader()]
    other = next(one for one in cluster.nodes.values() if one is not node)
    node.try_sh(f"dd if=/dev/zero of={MOUNT}/ballast bs=1M", timeout=300)
    try:
        assert "etcd-disk-full" in node.agent("etcd", "status").stdout
        # What room etcd took for its log beforehand is used up by half a megabyte at a time.
        put = "head -c 500000 /dev/zero | tr '\\0' x | ETCDCTL_API=3 etcdctl put ballast"
        pki = "/etc/kubernetes/pki"
        flags = (
            f"--endpoints https://127.0.0.1:2379 --cacert {pki}/ca/etcd-clients.crt "
            f"--cert {pki}/etcd/healthcheck-client.pem --key {pki}/etcd/healthcheck-client.pem"
        )

        def ended() -> bool:
            other.try_sh(f"for n in $(seq 20); do {put} {flags}; done", timeout=300)
            return not seen(node)["ready"]

        cluster.client.wait_until("the full member ends", ended, 600)
        writer.wait_for_more()
    finally:
        node.sh(f"rm {MOUNT}/ballast")
    healed(cluster, writer)


def test_two_of_three_lost_wait_for_the_restore_which_brings_the_backup_back_on_all(cluster: HaCluster) -> None:
    survivor = cluster.nodes["a"]
    survivor.etcdctl("put", "lab/before", "kept")
    cluster.nodes[cluster.leader()].sh("agent etcd backup --reason lab", timeout=300)
    survivor.etcdctl("put", "lab/after", "lost")
    revision = seen(survivor)["revision"]
    cluster.terminate("b", "c")
    for member in ("b", "c"):
        cluster.delete_volume(member)
        cluster.make_volume(member)
    heirs = [cluster.launch(member) for member in ("b", "c")]

    def told() -> bool:
        statuses = [cluster.scenario.status(heir.instance_id) for heir in heirs]
        remedies = [" ".join(c["remedy"] for c in status.get("conditions", ())) for status in statuses]
        return all("coordinator etcd restore --etcd main" in remedy for remedy in remedies)

    cluster.client.wait_until("both say what to do", told, 600)
    backups = json.loads(cluster.scenario.coordinator("etcd", "backups", "--json", capture=True))["backups"]
    name = next(one["name"] for one in backups if one["meta"]["reason"] == "lab")
    cluster.scenario.coordinator("etcd", "restore", "--backup", name, "--yes")

    def restored() -> bool:
        record = cluster.record()
        return (record["state"], record["generation"], record["started"]) == ("established", 2, list(MEMBERS))

    cluster.client.wait_until("the restored generation stands on all three", restored, 900)
    cluster.wait_until_ready()
    cluster.is_whole()
    for node in cluster.nodes.values():
        assert node.etcdctl("get", "lab/before", "--print-value-only") == "kept"
        assert node.etcdctl("get", "lab/after", "--print-value-only") == ""
        assert node.sh("ls /etc/kubernetes/manifests/kube-apiserver.yaml")
    assert survivor.sh(f"ls -d {MOUNT}/data.g1")
    watch = survivor.try_sh(
        "timeout 30 env ETCDCTL_API=3 etcdctl --endpoints https://127.0.0.1:2379 "
        "--cacert /etc/kubernetes/pki/ca/etcd-clients.crt --cert /etc/kubernetes/pki/etcd/healthcheck-client.pem "
        f"--key /etc/kubernetes/pki/etcd/healthcheck-client.pem watch lab/before --rev={revision}"
    )
    assert "required revision has been compacted" in watch.stdout + watch.stderr, "watchers list anew"
