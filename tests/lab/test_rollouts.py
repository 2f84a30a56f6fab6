"""Rollouts on real machines: a good change goes out in waves, a bad one touches one machine, which restores itself."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.lab.fleet import BEGUN, COMMITTED, RESTARTING, SETTLING, SIZE, UNDOING, Fleet, cut_each_at, live_fleet
from tests.lab.live import TIMER
from tests.lab.scenario import BUCKET, WORKERS
from tests.lab.steady_client import ApiConnection

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(2400)]

KUBELET = "systemctl show --value --property=ExecMainStartTimestampMonotonic kubelet.service"
OTHERS = "systemctl show --value --property=ExecMainStartTimestampMonotonic containerd.service chrony.service"
WAVES = (1, 2, SIZE)  # in one zone: the canary, one more, all
BOOTS = "journalctl --list-boots --quiet | wc -l"
LABELLED = "grep -c example.com/pool={} /etc/systemd/system/kubelet.service || true"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with live_fleet(tmp_path_factory.mktemp("rollouts")) as fleet:
        yield fleet


def test_a_good_change_goes_out_in_waves_and_restarts_only_what_it_must(fleet: Fleet) -> None:
    before = [(worker.sh(KUBELET), worker.sh(OTHERS)) for worker in fleet.workers]
    stable = fleet.stable()
    fleet.publish(labels={"example.com/pool": "a"})
    fleet.sync()
    (canary,) = fleet.off(stable)
    assert canary.sh(LABELLED.format("a")) == "1"
    fleet.sync()  # nobody else is let in without the coordinator
    assert fleet.off(stable) == [canary]
    for size in WAVES[1:]:
        fleet.advance()
        fleet.sync()
        assert len(fleet.off(stable)) == size
    fleet.advance()
    assert fleet.rollout() is None
    fleet.sync()
    statuses = fleet.statuses()
    assert [(status["stage"], status["why"]) for status in statuses] == [("ready", "on the stable manifest")] * SIZE
    assert fleet.stable() != stable
    for worker, (kubelet, others) in zip(fleet.workers, before, strict=True):
        assert worker.sh(KUBELET) != kubelet
        assert worker.sh(OTHERS) == others


def test_a_manifest_that_kills_kubelet_touches_one_machine_which_restores_itself(fleet: Fleet) -> None:
    if fleet.scenario.provided.real:
        pytest.skip("what kills the double of kubelet does not kill the real one")
    stable = fleet.stable()
    fleet.publish(kubelet={"resolvConf": "/etc/there-is-no-such-file"})
    fleet.sync()
    (touched,) = [worker for worker in fleet.workers if worker.status()["conditions"]]
    status = touched.status()
    (condition,) = status["conditions"]
    assert (status["stage"], status["manifest"], condition["code"]) == ("ready", stable, "manifest-undone")
    assert "kubelet" in condition["message"]
    assert touched.sh("systemctl is-active kubelet.service") == "active"
    assert "/etc/there-is-no-such-file" not in touched.sh("cat /var/lib/kubelet/config.yaml")
    fleet.sync()
    assert fleet.off(stable) == []
    assert "halt" in fleet.advance()
    rollout = fleet.rollout()
    assert rollout is not None
    assert (rollout["state"], rollout["failed"]) == ("halted", [touched.instance_id])
    text = fleet.scenario.ask_coordinator("rollout", "status").stdout
    assert touched.instance_id in text
    assert "kubelet" in text
    judged = json.loads(fleet.scenario.ask_coordinator("validate", "--json").stdout)
    (fault,) = [fault for fault in judged["failures"] if "manifest-undone" in fault["message"]]
    assert touched.status()["node_name"] in fault["name"]


def test_an_abort_returns_everything_and_the_next_serial_goes_through(fleet: Fleet) -> None:
    fleet.scenario.coordinator("rollout", "abort")
    assert fleet.rollout() is None
    fleet.sync()
    assert [status["conditions"] for status in fleet.statuses()] == [[]] * SIZE
    stable = fleet.stable()
    fleet.publish(kubelet={}, labels={"example.com/pool": "b"})
    first = fleet.in_order()[: WAVES[1]]
    cut_each_at(first[:1], [SETTLING])  # that the canary loses power meanwhile changes nothing
    fleet.advance()
    fleet.sync()
    assert {worker.instance_id for worker in fleet.off(stable)} == {worker.instance_id for worker in first}
    fleet.scenario.coordinator("rollout", "abort")
    fleet.sync()
    assert fleet.stable() == stable
    assert [worker.sh(LABELLED.format("b")) for worker in fleet.workers] == ["0"] * SIZE

    fleet.publish(labels={"example.com/pool": "c"})
    for _wave in WAVES:
        fleet.sync()
        fleet.advance()
    assert fleet.rollout() is None
    fleet.sync()
    assert [worker.sh(LABELLED.format("c")) for worker in fleet.workers] == ["1"] * SIZE


def test_a_machine_that_never_reaches_the_store_is_explained_by_its_console(fleet: Fleet) -> None:
    scenario, client = fleet.scenario, fleet.scenario.client
    user_data = scenario.machines(WORKERS).user_data.replace(BUCKET, "nobodys-bucket")
    lost = scenario.launch(WORKERS, user_data=user_data)
    try:
        client.wait_until("the agent's verdict", lambda: "error: s3-" in client.machine(lost).console(), 300.0)
        judged = json.loads(scenario.ask_coordinator("validate", "--json").stdout)
        (fault,) = [fault for fault in judged["failures"] if fault["name"] == lost]
        assert re.search(
            r"has not yet joined cluster.*error: s3-[a-z-]+: .*nobodys-bucket", fault["message"], re.DOTALL
        )
        assert f"remedy: {fault['remedy']}" in fault["message"]
    finally:
        client.terminate(lost)


@pytest.mark.nightly
def test_every_machine_loses_power_at_another_step_and_all_converge_within_the_budget(fleet: Fleet) -> None:
    stable = fleet.stable()
    fleet.publish(labels={"example.com/pool": "d"})
    rollout = fleet.rollout()
    assert rollout is not None
    order, points = fleet.in_order(), (BEGUN, RESTARTING, SETTLING, COMMITTED)
    for before, size in zip((0, *WAVES), WAVES, strict=False):
        cut_each_at(order[before:size], points[before:size])
        assert {worker.instance_id for worker in fleet.off(stable)} == {one.instance_id for one in order[:size]}
        assert fleet.outcomes(rollout["rollout"], "failed") == set()
        assert fleet.outcomes(rollout["rollout"], "ok") == {one.instance_id for one in order[:size]}
        fleet.advance()
    assert fleet.rollout() is None
    fleet.sync()
    assert [(status["stage"], status["conditions"], status["drift"]) for status in fleet.statuses()] == [
        ("ready", [], [])
    ] * SIZE
    assert [worker.sh(LABELLED.format("d")) for worker in fleet.workers] == ["1"] * SIZE


@pytest.mark.nightly
def test_a_bad_manifest_whose_undoing_is_cut_off_touches_one_machine_too(fleet: Fleet) -> None:
    if fleet.scenario.provided.real:
        pytest.skip("what kills the double of kubelet does not kill the real one")
    stable = fleet.stable()
    fleet.publish(kubelet={"resolvConf": "/etc/there-is-no-such-file-either"})
    rollout, canary = fleet.rollout(), fleet.in_order()[0]
    assert rollout is not None
    cut_each_at([canary], [UNDOING])
    fleet.sync()
    assert fleet.off(stable) == []
    assert fleet.outcomes(rollout["rollout"], "failed") == {canary.instance_id}
    assert "/etc/there-is-no-such-file-either" not in canary.sh("cat /var/lib/kubelet/config.yaml")
    assert "halt" in fleet.advance()
    fleet.scenario.coordinator("rollout", "abort")
    fleet.publish(kubelet={})
    fleet.sync()
    assert [status["conditions"] for status in fleet.statuses()] == [[]] * SIZE


@pytest.mark.nightly
def test_a_node_that_was_changed_by_hand_says_so_takes_no_candidate_and_is_told_from_afar(fleet: Fleet) -> None:
    worker = fleet.workers[0]
    worker.sh("echo '# by hand' >> /etc/crictl.yaml")
    fleet.publish(labels={"example.com/pool": "e"})
    for _wave in WAVES:
        fleet.sync()
        fleet.advance()
    assert worker.status()["drift"] == ["file:/etc/crictl.yaml"]
    assert worker.status()["choice"] == "keep"
    worker.agent("boot")  # a boot repairs
    for _wave in WAVES:
        fleet.sync()
        fleet.advance()
    assert fleet.rollout() is None
    assert worker.status()["drift"] == []


@pytest.mark.nightly
def test_what_is_read_at_boot_empties_the_machine_reboots_it_and_lets_pods_in_again(fleet: Fleet) -> None:
    """The order that somebody who looks from afar sees: cordoned, empty, another boot, schedulable."""
    scenario = fleet.scenario
    admin = ApiConnection(scenario.coordinator("kubeconfig", "--ttl", "4h", capture=True))
    fleet.publish_file("/etc/sysctl.d/60-lab.conf", "vm.swappiness = 7\n")
    canary = fleet.in_order()[0]
    name, before, boots = canary.status()["node_name"], canary.boot_id(), int(canary.sh(BOOTS))
    pods = "/api/v1/namespaces/default/pods"
    admin.ask("POST", pods, pod("on-the-canary", name))
    admin.ask("POST", pods, pod("elsewhere", fleet.in_order()[1].status()["node_name"]))
    canary.agent("sync")
    scenario.wait_until_ready(canary.instance_id, other_boot_than=before)
    canary.sh(f"systemctl stop {TIMER}")
    canary.agent("sync")
    status = canary.status()
    assert (status["stage"], status["conditions"], status["choice"]) == ("ready", [], "candidate")
    assert canary.sh("cat /proc/sys/vm/swappiness") == "7"
    assert canary.boot_id() != before
    assert int(canary.sh(BOOTS)) == boots + 1
    assert [one["metadata"]["name"] for one in admin.ask("GET", "/api/v1/pods")["items"]] == ["elsewhere"]
    assert not admin.ask("GET", f"/api/v1/nodes/{name}").get("spec", {}).get("unschedulable")
    admin.close()
    scenario.coordinator("rollout", "abort")


def pod(name: str, node: str) -> dict[str, object]:
    """As a scheduler has bound it; its image is on every machine."""
    containers = [{"name": "pause", "image": "registry.k8s.io/pause:3.10.2"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"nodeName": node, "containers": containers},
    }
