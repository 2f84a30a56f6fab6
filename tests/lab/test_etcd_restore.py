"""The rounds of etcd on a real machine: a backup by the timer, its test, and a restore begun from an operator's desk.

One lab and one machine serve all of it, so each test begins where the one before ended.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.live import ETCD, GROUP, LiveNode, live_cluster, ready_node
from tests.lab.scenario import BUCKET, CLUSTER, Scenario

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(2400)]

ROUNDS = "bootwright-etcd-backup.service"
RECORD = f"{CLUSTER}/etcd/main/cluster.json"


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    with live_cluster(tmp_path_factory.mktemp("etcd-restore")) as scenario:
        yield scenario


@pytest.fixture(scope="module")
def node(scenario: Scenario) -> LiveNode:
    return ready_node(scenario)


def backups(scenario: Scenario) -> list[dict[str, Any]]:
    return list(json.loads(scenario.coordinator("etcd", "backups", "--json", capture=True))["backups"])


def record(scenario: Scenario) -> dict[str, Any]:
    answer = scenario.client.aws("s3").get_object(Bucket=BUCKET, Key=RECORD)
    return dict(json.loads(answer["Body"].read()))


def test_the_timer_takes_a_backup_and_tests_it_by_a_restore(scenario: Scenario, node: LiveNode) -> None:
    def tested() -> bool:
        return any(one["verified"] for one in backups(scenario))

    try:
        scenario.client.wait_until("the first backup was restored as a test", tested, 300)
    finally:
        print(node.sh(f"journalctl -b --no-pager -u {ROUNDS} | tail -40"))
    assert node.sh("systemctl is-active bootwright-etcd-backup.timer") == "active"
    assert node.sh("ls -A /var/lib/bootwright | grep '^.etcd-' || true") == ".etcd-lock"


def test_status_tells_of_members_disk_and_backup_here_and_off_the_node(scenario: Scenario, node: LiveNode) -> None:
    done = node.agent("etcd", "status", "--json")
    (state,) = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (state["ready"], state["member"], state["leader"], state["generation"]) == (True, "a", "a", 1)
    assert state["fsync_p99_ms"] > 0
    assert state["volume_id"].startswith("vol-")
    assert state["device"].startswith("/dev/")
    assert state["verified"]
    node.sh(f"systemctl start {ROUNDS}")
    (seen,) = scenario.status(node.instance_id)["etcd"]
    assert seen["member"] == "a"
    assert seen["backup"] in [one["name"] for one in backups(scenario)]
    print(node.agent("etcd", "status").stdout)


def test_etcd_stops_by_handing_leadership_on_or_saying_that_nobody_can(node: LiveNode) -> None:
    node.sh(f"systemctl restart {ETCD}", timeout=180)
    log = node.sh(f"journalctl -b --no-pager -o cat -u {ETCD}")
    assert "etcd: leads, and nobody else can" in log


def test_a_restore_brings_the_backup_back_and_nothing_that_came_after_it(scenario: Scenario, node: LiveNode) -> None:
    node.etcdctl("put", "lab/before", "kept")
    node.sh("agent etcd backup --reason lab", timeout=300)
    node.etcdctl("put", "lab/after", "lost")
    name = next(one["name"] for one in backups(scenario) if one["meta"]["reason"] == "lab")
    shown = scenario.coordinator("etcd", "restore", "--backup", name, "--json", capture=True)
    (plan,) = json.loads(shown)["nodes"]
    assert (plan["instance_id"], plan["member"]) == (node.instance_id, "a")
    assert record(scenario)["generation"] == 1
    scenario.coordinator("etcd", "restore", "--backup", name, "--yes")
    assert record(scenario)["state"] == "restoring"

    def established() -> bool:
        found = record(scenario)
        return (found["state"], found["generation"]) == ("established", 2)

    def ready() -> bool:
        return scenario.status(node.instance_id).get("stage") == "ready"

    try:
        scenario.client.wait_until("the restored generation is established", established, 400)
        scenario.client.wait_until("the node is ready again", ready, 300)
    finally:
        print(node.sh("journalctl -b --no-pager -o cat -u bootwright-sync | tail -60"))
    assert node.etcdctl("get", "lab/before", "--print-value-only") == "kept"
    assert node.etcdctl("get", "lab/after", "--print-value-only") == ""
    assert node.etcdctl("get", "/bootwright/cluster", "--print-value-only") == record(scenario)["token"]
    assert node.sh("ls -d /var/lib/etcd/main/data.g1")
    assert node.sh("stat -c %U:%a /var/lib/etcd/main/data") == "etcd:700"
    assert node.sh("ls /etc/kubernetes/manifests/kube-apiserver.yaml")


def test_the_restored_node_survives_a_reboot_and_has_nothing_to_do(scenario: Scenario, node: LiveNode) -> None:
    before = node.boot_id()
    node.try_sh("systemctl reboot")
    scenario.wait_until_ready(node.instance_id, other_boot_than=before)
    assert node.etcdctl("get", "lab/before", "--print-value-only") == "kept"
    done = node.agent("diff", "--detailed-exitcode")
    assert done.stdout.startswith("0 to change"), done.stdout


def test_a_lost_volume_waits_for_the_restore_and_the_new_machine_follows_it_without_a_hand(
    scenario: Scenario, node: LiveNode
) -> None:
    """Last: it ends the machine that the tests before share."""
    node.etcdctl("put", "lab/precious", "kept")
    node.sh("agent etcd backup --reason lab", timeout=300)
    client, ec2 = scenario.client, scenario.client.aws("ec2")
    (lost,) = scenario.volumes()
    generation = record(scenario)["generation"]
    client.terminate(node.instance_id)
    client.wait_for_state(node.instance_id, "terminated")
    client.wait_until("the volume is free", lambda: scenario.volumes()[0]["State"] == "available", 120)
    ec2.delete_volume(VolumeId=lost["VolumeId"])
    client.wait_until("the volume is gone", lambda: not scenario.volumes(), 60)
    heir = LiveNode(scenario, scenario.launch(GROUP))  # with a new, empty one

    def waits() -> bool:
        told = {one["code"]: one["remedy"] for one in scenario.status(heir.instance_id).get("conditions", ())}
        return "coordinator etcd restore --etcd main --backup latest" in told.get("etcd-volume-lost", "")

    client.wait_until("it says what it waits for", waits, 600)
    assert heir.sh(f"systemctl is-active {ETCD} || true") != "active"
    print(heir.agent("status").stdout)
    scenario.coordinator("etcd", "restore", "--backup", "latest", "--yes")
    try:
        scenario.wait_until_ready(heir.instance_id)
    finally:
        print(heir.try_sh("journalctl -b --no-pager -o cat -u bootwright-boot | tail -60").stdout)
    assert record(scenario)["generation"] == generation + 1
    assert heir.etcdctl("get", "lab/precious", "--print-value-only") == "kept"
    assert int(heir.sh("systemctl show --value -p NRestarts bootwright-boot")) > 0, "systemd asked again by itself"
