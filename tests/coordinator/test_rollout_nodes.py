"""Both ends of a rollout on one bucket: the coordinator's release, the nodes' decision and their markers."""

from dataclasses import dataclass

import pytest

from agent.aws.credentials import Credentials
from agent.aws.s3 import S3, Bucket
from agent.rollout_store import RolloutStore
from coordinator.aws.s3 import S3Store
from coordinator.aws.session import Aws
from coordinator.rollouts_halts import Halt, lift_halts, put_halts
from tests.coordinator.fleet import FleetDouble, manifest_of
from tests.coordinator.workshop import CLUSTER, ClockDouble, Workshop
from units.manifest import Release, manifest_digest
from units.rollout import Situation, decide

pytestmark = pytest.mark.slow  # real requests to moto

BAD = "bad"


@dataclass
class NodeDouble:
    """Decides with the real rule and the real reader of the store; its machine is a digest."""

    instance_id: str
    store: RolloutStore
    running: str
    undone: frozenset[str] = frozenset()

    def poll(self, release: Release) -> None:
        rollout = release.rollout
        situation = Situation(
            self.instance_id,
            self.running,
            halted=self.store.halted(),
            failures=self.store.failures(rollout.serial) if rollout else 0,
            quarantine=self.undone,
        )
        decision = decide(release, situation)
        if decision.choice == "keep" or decision.manifest is None:
            return
        digest = manifest_digest(decision.manifest)
        if decision.choice == "stable":
            self.running = digest
            return
        assert rollout is not None
        if decision.manifest.pause_image.endswith(BAD):
            self.undone |= {digest}
            self.store.mark(rollout.serial, "failed", self.instance_id)
        else:
            self.running = digest
            self.store.mark(rollout.serial, "ok", self.instance_id)


@pytest.fixture
def fleet(tmp_path, clock: ClockDouble, aws: Aws, bucket: str) -> FleetDouble:
    workshop = Workshop(tmp_path / "keys", S3Store(aws, bucket, CLUSTER), clock)
    workshop.found()
    made = FleetDouble(workshop)
    made.publish()
    return made


@pytest.fixture
def nodes(fleet: FleetDouble, aws: Aws, bucket: str) -> list[NodeDouble]:
    s3 = S3(Bucket(bucket, "eu-west-1", aws.endpoint_url), lambda: Credentials("AKIAIOSFODNN7EXAMPLE", "not-a-secret"))
    store = RolloutStore(s3, f"{CLUSTER}/", "workers")
    running = manifest_digest(manifest_of("workers"))
    return [NodeDouble(one, store, running) for one in fleet.live(6)]


def run(fleet: FleetDouble, nodes: list[NodeDouble]) -> list[str]:
    """Everybody polls twice; who runs something else than before."""
    before = {node.instance_id: node.running for node in nodes}
    release = fleet.release()
    for _ in range(2):
        for node in nodes:
            node.poll(release)
    return [node.instance_id for node in nodes if node.running != before[node.instance_id]]


def test_a_good_manifest_reaches_everyone_in_waves(fleet: FleetDouble, nodes: list[NodeDouble]) -> None:
    fleet.publish(workers="2")
    reached = []
    for _ in range(3):
        reached.append(len(run(fleet, nodes)))
        fleet.clock.advance(seconds=300)
        fleet.advance()
    assert reached == [1, 3, 2]
    assert fleet.standing() == ("2", "", "", -1)
    assert run(fleet, nodes) == []


def test_a_bad_manifest_touches_one_node_and_abort_lets_the_next_serial_through(
    fleet: FleetDouble, nodes: list[NodeDouble]
) -> None:
    fleet.publish(workers=BAD)
    assert run(fleet, nodes) == []
    assert sum(bool(node.undone) for node in nodes) == 1
    assert fleet.step() == "halt"
    (failed,) = fleet.report()["workers"].failed
    assert failed == next(node.instance_id for node in nodes if node.undone)
    fleet.order("abort")
    assert run(fleet, nodes) == []
    fleet.publish(workers="3")
    for _ in range(3):
        run(fleet, nodes)
        fleet.clock.advance(seconds=300)
        fleet.advance()
    assert {node.running for node in nodes} == {manifest_digest(manifest_of("workers", version="3"))}


def test_a_halt_object_in_the_middle_of_a_wave_stops_the_nodes_and_the_coordinator(
    fleet: FleetDouble, nodes: list[NodeDouble]
) -> None:
    fleet.publish(workers="2")
    put_halts(fleet.workshop.store, ["workers"], Halt(who="ann"))
    assert run(fleet, nodes) == []
    assert fleet.step() == "pause"
    lift_halts(fleet.workshop.store, ["workers"])
    assert run(fleet, nodes) == []
    fleet.order("resume")
    assert len(run(fleet, nodes)) == 1


def test_a_newer_serial_in_the_middle_of_a_wave_brings_everyone_back_and_begins_with_one(
    fleet: FleetDouble, nodes: list[NodeDouble]
) -> None:
    fleet.publish(workers="2")
    run(fleet, nodes)
    fleet.clock.advance(seconds=300)
    assert fleet.step() == "open"
    run(fleet, nodes)
    fleet.publish(workers="3")
    run(fleet, nodes)
    running = [node.running for node in nodes]
    assert running.count(manifest_digest(manifest_of("workers", version="3"))) == 1
    assert running.count(manifest_digest(manifest_of("workers", version="1"))) == 5
