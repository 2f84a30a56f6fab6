"""The issuer's authority is replaced under way: on a worker that is ahead of the issuer, and on one that is behind."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.joining import BOOT, FORGET_THE_CERTIFICATE, heals, shows
from tests.lab.live import LiveNode, live_cluster
from tests.lab.rotation import SYNC, Rotation
from tests.lab.scenario import GROUP, WORKERS, Scenario

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(2400)]


@dataclass(frozen=True, slots=True)
class World:
    control_plane: LiveNode
    worker: LiveNode

    @property
    def scenario(self) -> Scenario:
        return self.control_plane.scenario

    @property
    def rotation(self) -> Rotation:
        """The worker is one that the operator does not wait for."""
        return Rotation(self.scenario, (self.worker.instance_id,))

    def lose_the_manifest(self, node: LiveNode) -> None:
        """What is signed does not reach this machine any more; what it says of itself still reaches the bucket."""
        self.scenario.client.fault_api(
            service="s3", action="GetObject", instance=node.instance_id, prefix="tuf/", code="Unavailable"
        )

    def forget_kubeconfig(self) -> None:
        """The next one that is needed is printed anew: it trusts what the API server shows now."""
        (self.scenario.directory / "kubeconfig").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with live_cluster(tmp_path_factory.mktemp("workers-rotation")) as scenario:
        instances = [scenario.launch(GROUP), scenario.launch(WORKERS)]
        for instance in instances:
            scenario.wait_until_ready(instance)
        yield World(*(LiveNode(scenario, instance) for instance in instances))


@pytest.fixture(autouse=True)
def without_faults(world: World) -> Iterator[None]:
    yield
    world.scenario.client.clear_fault()


def test_a_worker_that_is_ahead_of_the_issuer_keeps_what_it_has_says_so_and_heals(world: World) -> None:
    world.rotation.publish("add")
    world.rotation.confirm([world.worker, world.control_plane])
    before = world.worker.sh("sha256sum /etc/kubernetes/pki/kubelet/*.pem")
    world.lose_the_manifest(world.control_plane)
    world.rotation.publish("sign")
    world.worker.sh(SYNC, timeout=300)
    warns(world.worker, "renewal-failed", "issuer-behind", "coordinator trust status")
    assert world.worker.sh("sha256sum /etc/kubernetes/pki/kubelet/*.pem") == before
    world.scenario.client.clear_fault()
    world.rotation.confirm([world.control_plane])
    world.forget_kubeconfig()
    heals_its_warning(world.worker)
    assert world.worker.sh("sha256sum /etc/kubernetes/pki/kubelet/*.pem") != before
    world.rotation.publish("retire")
    world.rotation.confirm([world.control_plane])
    heals_its_warning(world.worker)


def test_a_worker_that_missed_the_new_authority_does_not_trust_the_issuer_says_so_and_heals(world: World) -> None:
    """Its renewal was lost with its manifest: it can neither verify whom it asks, nor learn of the new authority."""
    world.lose_the_manifest(world.worker)
    for phase in ("add", "sign"):
        world.rotation.publish(phase)
        world.rotation.confirm([world.control_plane])
    world.worker.sh(FORGET_THE_CERTIFICATE)
    world.worker.sh(f"systemctl restart --no-block {BOOT}")
    shows(world.worker, "issuer-not-trusted", "agent sync")
    world.scenario.client.clear_fault()
    world.forget_kubeconfig()
    heals(world.worker)


def warns(node: LiveNode, code: str, cause: str, remedy: str) -> None:
    """Nothing is lost yet, so it stays ready: a warning with the cause, in its status object and on the machine."""

    def told() -> bool:
        conditions = node.scenario.status(node.instance_id)["conditions"]
        return [one["code"] for one in conditions if cause in one["message"]] == [code]

    node.scenario.client.wait_until(f"{node.instance_id} shows {code}: {cause}", told, 180)
    (condition,) = node.scenario.status(node.instance_id)["conditions"]
    assert remedy in condition["remedy"]
    asked = node.agent("status")
    assert (code in asked.stdout, cause in asked.stdout) == (True, True)
    assert remedy in " ".join(asked.stdout.split())
    assert asked.returncode == 0


def heals_its_warning(node: LiveNode) -> None:
    """By its own timer."""

    def quiet() -> bool:
        status = node.scenario.status(node.instance_id)
        return (status["stage"], status["conditions"], status["converged"] != "") == ("ready", [], True)

    node.scenario.client.wait_until(f"{node.instance_id} has no warning any more", quiet, 300)
    heals(node)
