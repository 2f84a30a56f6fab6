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
RESERVE = 128 * 1024**2  # of a volume of 2 GiB
PYTHON = "/opt/bootwright/venv/bin/python -I"


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


def test_a_full_disk_under_the_leader_ends_its_etcd_and_the_agent_alone_makes_room(
    cluster: HaCluster, writer: Writer
) -> None:
    node = cluster.nodes[cluster.leader()]
    wait = cluster.client.wait_until
    wait("its volume has a reserve", lambda: seen(node)["reserve_bytes"] >= RESERVE, 300)
    node.sh("systemctl stop bootwright-sync.timer")  # or its poll may be faster than the disk fills
    node.sh(f"fallocate -l $(( $(stat -f -c %a {MOUNT}) * 4096 - (8 << 20) )) {MOUNT}/ballast")
    node.try_sh(f"dd if=/dev/zero of={MOUNT}/ballast bs=4k oflag=append conv=notrunc", timeout=300)
    try:
        said = node.agent("etcd", "status").stdout
        assert "etcd-disk-full" in said
        assert "its reserve is given up with the next poll" in said
        wait("the full member ends", lambda: "no space left on device" in etcd_log(node), 300)
        writer.wait_for_more()
        node.sh("systemctl start bootwright-sync.timer")
        wait("the agent gives up its reserve", lambda: seen(node)["given_up"] != [], 300)
        healed(cluster, writer)
        assert seen(node)["reserve_bytes"] == 0
        wait("its status tells", lambda: "gave up its reserve" in str(node.status()["conditions"]), 600)
    finally:
        node.sh(f"systemctl start bootwright-sync.timer; rm {MOUNT}/ballast")
    wait("the reserve is made again", lambda: seen(node)["reserve_bytes"] >= RESERVE, 300)
    healed(cluster, writer)


def etcd_log(node: LiveNode) -> str:
    return node.sh("journalctl --boot --no-pager --output=cat --lines=200 --unit=bootwright-etcd-main")


def test_a_full_file_system_grows_in_place_while_it_is_mounted(cluster: HaCluster) -> None:
    """As `agent.linux.disks` does it when a volume is enlarged. User-Mode Linux's own disks keep their size while they
    are plugged in, so this one is a loop device.
    """
    node = next(iter(cluster.nodes.values()))
    image, place = "/var/tmp/enlarged.img", "/run/enlarged"
    node.sh(f"truncate -s 1G {image}; mkfs.ext4 -q -m0 {image}; mkdir {place}; mount -o loop {image} {place}")
    try:
        node.try_sh(f"fallocate -l 2G {place}/ballast; dd if=/dev/zero of={place}/more bs=64k", timeout=300)
        assert node.sh(f"stat -f -c %a {place}").strip() == "0"
        device = node.sh(f"findmnt --noheadings --output SOURCE {place}").strip()
        node.sh(f"truncate -s 2G {image}; losetup --set-capacity {device}")
        look = "from pathlib import Path; from agent.linux.ext4 import outgrown_at; print(outgrown_at(Path('{place}')))"
        asked = f'cd / && {PYTHON} -c "{look.format(place=place)}"'
        assert node.sh(asked).strip() == "True"
        node.sh(f"resize2fs {device}", timeout=300)
        assert node.sh(asked).strip() == "False"
        assert int(node.sh(f"stat -f -c %a {place}")) * 4096 > 900 * 1024**2
    finally:
        node.try_sh(f"umount {place}; rm {image}")


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
