"""Who is well: asked of the programs, of the runtime by the pod it runs, and of the lease that kubelet renews."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest

from tests.units.machines import FACTS, empty_machine, manifest
from tests.units.test_transaction import NEW, OLD, host_of, on, running, transaction
from units.errors import Retryable
from units.generations import Generations
from units.health import LeaseCheck, PodCheck, RuntimeCheck, Sight, health_checks, illnesses, pod_checks
from units.host import Host
from units.manifest import Components, manifest_digest
from units.memory_node import MemoryNodeApi
from units.node_api import UNREACHABLE
from units.plan import plan
from units.window import HEALTH_SECONDS, STEADY_SECONDS

DIGEST, OLDER = "a" * 32, "b" * 32


@dataclass
class RuntimeDouble:
    """Says what a test wants of the pods that run."""

    pods: Mapping[str, frozenset[str]] = field(default_factory=dict)
    silent: bool = False
    asked: int = 0

    def complaint(self) -> str:
        return "containerd does not answer: no such socket" if self.silent else ""

    def static_pods(self) -> Mapping[str, frozenset[str]]:
        self.asked += 1
        if self.silent:
            raise Retryable("containerd-unreachable", self.complaint())
        return self.pods


def host(runtime: RuntimeDouble) -> Host:
    return replace(empty_machine().host, runtime=runtime)


@pytest.mark.parametrize(
    ("pods", "said"),
    [
        ({"kube-proxy": frozenset({DIGEST})}, ""),
        ({}, "runs no such pod"),
        ({"kube-proxy": frozenset({OLDER})}, "still runs bbbbbbbbbbbb, not aaaaaaaaaaaa"),
        ({"kube-proxy": frozenset({OLDER, DIGEST})}, "still runs aaaaaaaaaaaa, bbbbbbbbbbbb"),
    ],
)
def test_a_static_pod_is_well_when_the_runtime_runs_exactly_it(pods: Mapping[str, frozenset[str]], said: str) -> None:
    found = PodCheck("static pod kube-proxy", "kube-proxy", DIGEST).illness(Sight(host(RuntimeDouble(pods))))
    assert said in found
    assert bool(said) == bool(found)


def test_a_runtime_that_does_not_answer_makes_the_node_ill_and_says_why() -> None:
    ill = host(RuntimeDouble(silent=True))
    checks = (RuntimeCheck(), PodCheck("static pod a", "a", DIGEST))
    assert [one.name for one in illnesses(checks, ill)] == ["containerd", "static pod a"]
    assert RuntimeCheck() in health_checks(manifest("node"), FACTS)
    assert RuntimeCheck().essential


def test_the_runtime_is_asked_once_a_look_however_many_pods_there_are() -> None:
    runtime = RuntimeDouble()
    checks = pod_checks(plan(manifest("control-plane"), FACTS))
    assert len(checks) == 4
    illnesses(checks, host(runtime))
    assert runtime.asked == 1


@dataclass
class LeaseDouble(MemoryNodeApi):
    renewed: datetime | Retryable | None = None

    def lease_renewed(self, node: str) -> datetime | None:
        assert node == "n"
        if isinstance(self.renewed, Retryable):
            raise self.renewed
        return self.renewed


def lease_says(age: float | Retryable | None, *, since: float | None = None, silent: bool = False) -> str:
    """`age` and `since` in seconds before now."""
    machine = empty_machine()
    now = machine.clock.now()
    renewed = now - timedelta(seconds=age) if isinstance(age, int | float) else age
    machine.node_api = LeaseDouble(machine.systemd, machine.clock, renewed=renewed)
    begun = None if since is None else now - timedelta(seconds=since)
    return LeaseCheck("n", since=begun, silence_is_illness=silent).illness(Sight(machine.host))


def test_a_lease_is_well_for_forty_seconds_and_after_a_change_only_if_renewed_since() -> None:
    assert lease_says(39) == ""
    assert "41 s ago" in lease_says(41)
    assert "no lease" in lease_says(None)
    assert "not renewed it since the change" in lease_says(15, since=10)
    assert lease_says(5, since=10) == ""


def test_an_api_server_that_is_away_is_no_fault_of_the_node_unless_the_node_looks_elsewhere_now() -> None:
    away = Retryable(UNREACHABLE, "https://10.99.0.2:6443: connection refused")
    assert lease_says(away) == ""
    assert "connection refused" in lease_says(away, silent=True)
    denied = Retryable("cluster-access-denied", "HTTP 401: Unauthorized")
    assert "Unauthorized" in lease_says(denied), "kubelet's own credential is this node's fault"


# --- in a transaction ---


@dataclass
class ApiServerThatComesBackDouble(MemoryNodeApi):
    """Away when it is first asked; afterwards it knows no lease of this node."""

    asked: int = 0

    def lease_renewed(self, node: str) -> datetime | None:
        self.asked += 1
        if self.asked == 1:
            raise Retryable(UNREACHABLE, "https://10.99.0.2:6443: connection refused")
        return None


def test_a_lease_that_could_not_be_read_before_is_not_required_after() -> None:
    machine = on("node")
    machine.node_api = ApiServerThatComesBackDouble(machine.systemd, machine.clock)
    assert transaction(host_of(machine)).apply(NEW["node"]).end == "committed"


def test_a_kubelet_that_runs_and_does_not_renew_its_lease_is_undone() -> None:
    machine = on("node")
    before = machine.clock.now()
    machine.node_api = LeaseSinceDouble(machine.systemd, machine.clock, stuck_at=before)
    machine.clock.at = before + timedelta(seconds=20)  # the lease looks fresh, for it was renewed before the change
    found = transaction(host_of(machine)).apply(NEW["node"])
    assert found.end == "failed"  # the way back does not cure it either, and says so
    assert found.failure is not None
    assert (found.failure.code, "node lease: kubelet has not renewed it" in found.failure.message) == (
        "undo-unwell",
        True,
    )
    assert running(machine) == OLD["node"]
    assert manifest_digest(NEW["node"]) in Generations(machine.files).quarantine
    assert machine.clock.ticks >= HEALTH_SECONDS


@dataclass
class LeaseSinceDouble(MemoryNodeApi):
    stuck_at: datetime | None = None

    def lease_renewed(self, node: str) -> datetime | None:
        return self.stuck_at


def test_a_pod_that_kubelet_does_not_replace_is_undone_although_its_port_answers() -> None:
    machine = on("control-plane")
    frozen = machine.runtime.static_pods()
    changed = manifest("control-plane", components=Components(kube_scheduler={"v": "4"}))
    ill = replace(host_of(machine), runtime=RuntimeDouble(frozen))
    found = transaction(ill).apply(changed)
    assert found.end == "undone", found.failure
    assert found.failure is not None
    assert "static pod kube-scheduler: containerd still runs" in found.failure.message


def test_a_pod_that_is_replaced_in_time_is_committed() -> None:
    machine = on("control-plane")
    changed = manifest("control-plane", components=Components(kube_scheduler={"v": "4"}))
    assert transaction(host_of(machine)).apply(changed).end == "committed"
    assert STEADY_SECONDS <= machine.clock.ticks < HEALTH_SECONDS


def test_pods_that_nobody_ran_before_are_not_required() -> None:
    """The double of kubelet runs none, and a node with a silent runtime before is not made worse."""
    machine = on("control-plane")
    empty = replace(host_of(machine), runtime=RuntimeDouble())
    changed = manifest("control-plane", components=Components(kube_scheduler={"v": "4"}))
    assert transaction(empty).apply(changed).end == "committed"
