"""A control plane and four workers, whose rollout the test drives: it says when machines poll, and when it advances."""

import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.lab.live import TIMER, LiveNode, live_cluster
from tests.lab.scenario import BUCKET, CLUSTER, GROUP, WORKERS, Scenario
from units.rollout import rank

SIZE = 4
SPEC = """\
rollout:
  bakeSeconds: 1
"""

# Bash alone and without a pause. The agent is stopped, not ended, so that the power goes at just that point.
_STOP_AT = """
before=$(< /var/lib/bootwright/generations/current.json)
agent sync > /run/lab-agent.log 2>&1 < /dev/null &
agent=$!
while kill -0 $agent; do
    status=$(< /run/bootwright/status.json)
    journal=$(< /var/lib/bootwright/journal.json)
    current=$(< /var/lib/bootwright/generations/current.json)
    if POINT; then kill -STOP $agent; echo there; exit 0; fi
done 2> /dev/null
cat /run/lab-agent.log
exit 1
"""


# Where the power may go: bash over what the agent wrote down last.
BEGUN = "[[ $journal == *applying* ]]"
RESTARTING = r"[[ $status =~ \"waiting_for\":\ \"[0-9/]+\ unit:kubelet ]]"
SETTLING = r"[[ $status =~ \"waiting_for\":\ \"waiting\ for\ the\ new\ manifest ]]"
COMMITTED = '[[ $current != "$before" && -z $journal ]]'
UNDOING = "[[ $journal == *undoing* ]]"


@dataclass(frozen=True, slots=True)
class Fleet:
    control_plane: LiveNode
    workers: tuple[LiveNode, ...]

    @property
    def scenario(self) -> Scenario:
        return self.control_plane.scenario

    def publish(self, **workers: Any) -> None:
        """Fields of the group `workers`, which alone changes."""
        spec = yaml.safe_load(self.scenario.spec.read_text())
        (group,) = [group for group in spec["instanceGroups"] if group["name"] == WORKERS]
        group.update(workers)
        self.scenario.spec.write_text(yaml.safe_dump(spec, sort_keys=False))
        self.scenario.coordinator("publish", "--yes")

    def publish_file(self, path: str, content: str) -> None:
        """An extra file for the workers, and no other."""
        spec = yaml.safe_load(self.scenario.spec.read_text())
        spec["files"] = [{"path": path, "content": content, "groups": [WORKERS]}]
        self.scenario.spec.write_text(yaml.safe_dump(spec, sort_keys=False))
        self.scenario.coordinator("publish", "--yes")

    def sync(self, *others: LiveNode) -> None:
        """What the timers would do within the minute, all at once; `others` are left out."""
        polled = [worker for worker in self.workers if worker not in others]
        with ThreadPoolExecutor(len(polled)) as pool:
            list(pool.map(lambda worker: worker.agent("sync"), polled))

    def statuses(self) -> list[dict[str, Any]]:
        with ThreadPoolExecutor(SIZE) as pool:
            return list(pool.map(LiveNode.status, self.workers))

    def stable(self) -> str:
        """The manifest that all run; they must run the same."""
        (manifest,) = {status["manifest"] for status in self.statuses()}
        return str(manifest)

    def off(self, manifest: str) -> list[LiveNode]:
        """Those that run another one."""
        return [
            worker
            for worker, status in zip(self.workers, self.statuses(), strict=True)
            if status["manifest"] != manifest
        ]

    def rollout(self) -> dict[str, Any] | None:
        found = json.loads(self.scenario.ask_coordinator("rollout", "status", "--json").stdout)
        return next((one for one in found["rollouts"] if one["group"] == WORKERS), None)

    def advance(self) -> str:
        """Once the bake time of a second has passed."""
        time.sleep(1.5)
        done = self.scenario.ask_coordinator("advance")
        return str(done.stdout + done.stderr)

    def in_order(self) -> list[LiveNode]:
        """The workers in the order in which the rollout under way lets them in."""
        rollout = self.rollout()
        assert rollout is not None
        return sorted(self.workers, key=lambda worker: rank(rollout["rollout"], worker.instance_id))

    def outcomes(self, serial: int, outcome: str) -> set[str]:
        """The instances that left such a marker of the rollout that began with this serial."""
        prefix = f"{CLUSTER}/outcome/{WORKERS}/{serial}/{outcome}/"
        found = self.scenario.client.aws("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return {item["Key"].removeprefix(prefix) for item in found.get("Contents", [])}


def cut_power_at(worker: LiveNode, point: str) -> None:
    """Let it poll, and pull the plug at that point.

    It is back, and its agent done with the boot, when this returns; its timer is stopped again.
    """
    before = worker.boot_id()
    said = worker.sh(_STOP_AT.replace("POINT", point), timeout=300)
    assert said == "there", said
    worker.machine.power_cut()
    worker.scenario.wait_until_ready(worker.instance_id, other_boot_than=before)
    worker.sh(f"systemctl stop {TIMER}")


def cut_each_at(workers: Sequence[LiveNode], points: Sequence[str]) -> None:
    with ThreadPoolExecutor(len(points)) as pool:
        list(pool.map(cut_power_at, workers, points))


@contextmanager
def live_fleet(directory: Path) -> Iterator[Fleet]:
    """All of them ready; workers poll only when the test says so."""
    with live_cluster(directory, edit_spec=lambda text: text + SPEC) as scenario:
        instances = [scenario.launch(GROUP), *(scenario.launch(WORKERS) for _number in range(SIZE))]
        for instance in instances:
            scenario.wait_until_ready(instance)
        control_plane, *workers = (LiveNode(scenario, instance) for instance in instances)
        for worker in workers:
            worker.sh(f"systemctl stop {TIMER}")
        yield Fleet(control_plane, tuple(workers))
