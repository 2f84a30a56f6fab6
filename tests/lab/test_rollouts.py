"""Rollouts on real machines: a good change goes out in waves, a bad one touches one machine, which restores itself."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab.live import TIMER, LiveNode, live_cluster
from tests.lab.scenario import GROUP, WORKERS, Scenario

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(2400)]

SIZE = 3
KUBELET = "systemctl show --value --property=ExecMainStartTimestampMonotonic kubelet.service"
OTHERS = "systemctl show --value --property=ExecMainStartTimestampMonotonic containerd.service chrony.service"


@dataclass(frozen=True, slots=True)
class Fleet:
    control_plane: LiveNode
    workers: tuple[LiveNode, ...]

    @property
    def scenario(self) -> Scenario:
        return self.control_plane.scenario

    def publish(self, **workers: Any) -> None:
        """Fields of the group `workers`, which alone changes."""
        import yaml

        spec = yaml.safe_load(self.scenario.spec.read_text())
        (group,) = [group for group in spec["instanceGroups"] if group["name"] == WORKERS]
        group.update(workers)
        self.scenario.spec.write_text(yaml.safe_dump(spec, sort_keys=False))
        self.scenario.coordinator("publish", "--yes")

    def sync(self) -> None:
        """What the timers would do within the minute, in no order of our choosing."""
        for worker in self.workers:
            worker.agent("sync")

    def off(self, manifest: str) -> list[LiveNode]:
        """Those that run another one."""
        return [worker for worker in self.workers if worker.status()["manifest"] != manifest]

    def rollout(self) -> dict[str, Any] | None:
        found = json.loads(self.scenario.ask_coordinator("rollout", "status", "--json").stdout)
        return next((one for one in found["rollouts"] if one["group"] == WORKERS), None)

    def advance(self) -> str:
        """Once the bake time of a second has passed."""
        time.sleep(1.5)
        done = self.scenario.ask_coordinator("advance")
        return str(done.stdout + done.stderr)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with live_cluster(tmp_path_factory.mktemp("rollouts")) as scenario:
        spec = scenario.spec.read_text()
        scenario.spec.write_text(spec + "rollout:\n  bakeSeconds: 1\n")
        instances = [scenario.launch(GROUP), *(scenario.launch(WORKERS) for _number in range(SIZE))]
        for instance in instances:
            scenario.wait_until_ready(instance)
        control_plane, *workers = (LiveNode(scenario, instance) for instance in instances)
        for worker in workers:
            worker.sh(f"systemctl stop {TIMER}")  # the test says when a machine polls
        yield Fleet(control_plane, tuple(workers))


def test_a_good_change_goes_out_in_waves_and_restarts_only_what_it_must(fleet: Fleet) -> None:
    before = [(worker.sh(KUBELET), worker.sh(OTHERS)) for worker in fleet.workers]
    stable = fleet.workers[0].status()["manifest"]
    fleet.publish(labels={"example.com/pool": "a"})
    fleet.sync()
    (canary,) = fleet.off(stable)
    assert canary.sh("grep -c example.com/pool=a /etc/systemd/system/kubelet.service") == "1"
    fleet.sync()  # nobody else is let in without the coordinator
    assert fleet.off(stable) == [canary]
    for size in range(2, SIZE + 1):  # in one zone: the canary, one more, all
        fleet.advance()
        fleet.sync()
        assert len(fleet.off(stable)) == size
    fleet.advance()
    assert fleet.rollout() is None
    fleet.sync()
    statuses = [worker.status() for worker in fleet.workers]
    assert [(status["stage"], status["why"]) for status in statuses] == [("ready", "on the stable manifest")] * SIZE
    assert len({status["manifest"] for status in statuses}) == 1
    for worker, (kubelet, others) in zip(fleet.workers, before, strict=True):
        assert worker.sh(KUBELET) != kubelet
        assert worker.sh(OTHERS) == others


def test_a_manifest_that_kills_kubelet_touches_one_machine_which_restores_itself(fleet: Fleet) -> None:
    if fleet.scenario.provided.real:
        pytest.skip("what kills the double of kubelet does not kill the real one")
    stable = fleet.workers[0].status()["manifest"]
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
    said = fleet.advance()
    assert "halt" in said
    rollout = fleet.rollout()
    assert rollout is not None
    assert rollout["state"] == "halted"
    text = fleet.scenario.ask_coordinator("rollout", "status").stdout
    assert touched.instance_id in text
    assert "kubelet" in text


def test_an_abort_returns_everything_and_the_next_serial_goes_through(fleet: Fleet) -> None:
    fleet.scenario.coordinator("rollout", "abort", WORKERS)
    assert fleet.rollout() is None
    fleet.sync()
    assert [worker.status()["conditions"] for worker in fleet.workers] == [[]] * SIZE
    fleet.publish(kubelet={}, labels={"example.com/pool": "b"})
    for _wave in range(SIZE):
        fleet.sync()
        fleet.advance()
    assert fleet.rollout() is None
    fleet.sync()
    units = [worker.sh("grep -c example.com/pool=b /etc/systemd/system/kubelet.service") for worker in fleet.workers]
    assert units == ["1"] * SIZE


def test_a_node_that_was_changed_by_hand_says_so_takes_no_candidate_and_is_told_from_afar(fleet: Fleet) -> None:
    worker = fleet.workers[0]
    worker.sh("echo '# by hand' >> /etc/crictl.yaml")
    fleet.publish(labels={"example.com/pool": "c"})
    for _wave in range(SIZE):
        fleet.sync()
        fleet.advance()
    assert worker.status()["drift"] == ["file:/etc/crictl.yaml"]
    assert worker.status()["choice"] == "keep"
    worker.agent("boot")  # a boot repairs
    for _wave in range(SIZE):
        fleet.sync()
        fleet.advance()
    assert fleet.rollout() is None
    assert worker.status()["drift"] == []
