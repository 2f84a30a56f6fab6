"""Changes that need an empty machine, or a reboot: carried out, and finished or taken back wherever they are cut."""

from dataclasses import dataclass, field, replace

import pytest

from tests.units.machines import Killed, empty_machine, manifest, rebooted, tapped
from tests.units.test_transaction import OLD, POISON, Wire, host_of, leftovers, running, transaction
from units.applied import Applied
from units.disturbing import KUBELET_STATE, REBOOT_ASKED
from units.drain import DRAIN_SECONDS
from units.errors import Retryable
from units.generations import Generations
from units.manifest import ExtraFile, Manifest, manifest_digest
from units.memory import MemoryHost
from units.memory_node import MemoryNodeApi
from units.node_api import UNREACHABLE, NodePod
from units.services.kubelet import CONFIG
from units.transaction import MOST_ATTEMPTS

SYSCTL = "/etc/sysctl.d/90-ours.conf"
APP = NodePod("default", "app", owner="ReplicaSet")
STAYING = (
    NodePod("kube-system", "kube-proxy-x", owner="Node", mirror=True),
    NodePod("kube-system", "cni-x", owner="DaemonSet"),
    NodePod("default", "done", ended=True),
)


def with_sysctl(role: str, pods: int | None = None) -> Manifest:
    group = OLD[role].group.model_copy(update={"kubelet": {"maxPods": pods} if pods else {}})
    return manifest(role, group=group, files=(ExtraFile(path=SYSCTL, content="vm.swappiness = 1\n"),))


def with_static_cpus(pods: int = 50) -> Manifest:
    kubelet = {"cpuManagerPolicy": "static", "maxPods": pods}
    return manifest("node", group=OLD["node"].group.model_copy(update={"kubelet": kubelet}))


def on(role: str = "node") -> MemoryHost:
    """A machine with pods on it, whose kubelet has written down what it assigned."""
    machine = empty_machine()
    assert transaction(host_of(machine)).apply(OLD[role]).end == "committed"
    machine.node_api.bound += [APP, *STAYING]
    for path in KUBELET_STATE:
        machine.files.write(path, b"{}", mode=0o600, owner="root", group="root")
    return machine


def apply(machine: MemoryHost, target: Manifest) -> Applied:
    return transaction(host_of(machine)).apply(target)


def through_reboots(machine: MemoryHost, target: Manifest) -> tuple[MemoryHost, Applied]:
    """As a node goes: it reboots when it was asked to, and the next boot applies what it should run."""
    for _boot in range(6):
        asked = machine.systemd.reboots
        found = apply(machine, target)
        if found.end != "rebooting":
            assert machine.systemd.reboots == asked
            return machine, found
        assert machine.systemd.reboots > asked
        machine = rebooted(machine)
    raise AssertionError("it reboots for ever")


def is_free(machine: MemoryHost) -> bool:
    return not machine.node_api.cordoned and not Generations(machine.files).cordoned


# --- drain ---


def test_a_change_of_kubelets_resource_managers_drains_first_and_uncordons_after_the_commit() -> None:
    machine = on()
    order: list[str] = []

    def note(port: str, method: str, arguments: tuple[object, ...]) -> None:
        if port == "node_api" or (port, method) == ("systemd", "stop"):
            order.append(method)
        elif (port, method) == ("files", "write") and arguments[0] == CONFIG:
            order.append("config")
        elif (port, method) == ("files", "remove") and arguments[0] in KUBELET_STATE:
            order.append("state")

    found = transaction(tapped(host_of(machine), before=note)).apply(with_static_cpus())
    assert found.end == "committed"
    assert order == ["set_schedulable", "evict", "stop", "state", "state", "config", "set_schedulable"]
    assert machine.node_api.evicted == [APP]
    assert is_free(machine)


def test_a_change_that_disturbs_nobody_drains_nothing() -> None:
    machine = on()
    assert apply(machine, manifest("node", files=(ExtraFile(path="/etc/issue", content="x"),))).end == "committed"
    assert (machine.node_api.evicted, machine.systemd.reboots) == ([], 0)


def test_a_first_manifest_drains_and_reboots_nothing() -> None:
    machine = empty_machine()
    assert apply(machine, with_sysctl("node")).end == "committed"
    assert (machine.node_api.evicted, machine.systemd.reboots) == ([], 0)


def test_a_node_that_somebody_else_cordoned_stays_cordoned() -> None:
    machine = on()
    machine.node_api.cordoned = True
    assert apply(machine, with_static_cpus()).end == "committed"
    assert machine.node_api.cordoned


@dataclass
class BudgetDouble(MemoryNodeApi):
    """A disruption budget allows nothing."""

    asked: list[NodePod] = field(default_factory=list)

    def evict(self, pod: NodePod) -> str:
        self.asked.append(pod)
        return "Cannot evict pod as it would violate the pod's disruption budget."


def test_a_budget_is_respected_for_a_while_then_again_and_then_the_change_is_given_up_untouched() -> None:
    machine = on()
    machine.node_api = BudgetDouble(machine.systemd, machine.clock, bound=[APP])
    untouched = machine.files.read(CONFIG)
    for _attempt in range(MOST_ATTEMPTS):
        before = machine.clock.ticks
        found = apply(machine, with_static_cpus())
        assert (found.end, found.failure and found.failure.code) == ("failed", "drain-unfinished")
        assert found.failure is not None
        assert "default/app: Cannot evict pod as it would violate" in found.failure.message
        assert DRAIN_SECONDS <= machine.clock.ticks - before < DRAIN_SECONDS + 30
        assert machine.files.read(CONFIG) == untouched
    assert apply(machine, with_static_cpus()).end == "undone"
    assert machine.node_api.bound == [APP]
    assert (machine.files.read(CONFIG), is_free(machine)) == (untouched, True)


def test_a_reboot_is_no_attempt_that_failed_although_the_drain_took_all_but_one() -> None:
    machine = on()
    machine.node_api = BudgetDouble(machine.systemd, machine.clock, bound=[APP])
    for _attempt in range(MOST_ATTEMPTS - 1):
        assert apply(machine, with_sysctl("node")).end == "failed"
    machine.node_api.bound.clear()  # more replicas came up elsewhere
    machine, found = through_reboots(machine, with_sysctl("node"))
    assert (found.end, machine.systemd.reboots) == ("committed", 1)


@dataclass
class SilentNodeApiDouble(MemoryNodeApi):
    """An API server that does not answer whoever wants to uncordon, as long as `silent`."""

    silent: bool = True

    def set_schedulable(self, node: str, *, schedulable: bool) -> None:
        if schedulable and self.silent:
            raise Retryable(UNREACHABLE, "https://10.99.0.2:6443: connection refused")
        super().set_schedulable(node, schedulable=schedulable)


def test_a_node_that_could_not_be_uncordoned_says_so_and_the_next_run_does_it() -> None:
    machine = on()
    machine.node_api = api = SilentNodeApiDouble(machine.systemd, machine.clock)
    found = apply(machine, with_static_cpus())
    assert found.end == "committed"
    assert found.still_cordoned is not None
    assert found.still_cordoned.code == "still-cordoned"
    api.silent = False
    assert apply(machine, with_static_cpus()).still_cordoned is None
    assert is_free(machine)


def test_a_policy_with_which_kubelet_is_ill_is_undone_without_the_state_that_it_left() -> None:
    machine = on()
    stops: list[str] = []

    def note(port: str, method: str, arguments: tuple[object, ...]) -> None:
        if (port, method, arguments[:1]) == ("systemd", "start", ("kubelet.service",)):
            stops.append("start")
            for path in KUBELET_STATE:  # as kubelet does
                machine.files.write(path, b"{}", mode=0o600, owner="root", group="root")
        elif (port, method) == ("files", "remove") and arguments[0] == KUBELET_STATE[0]:
            stops.append("state")

    found = transaction(tapped(host_of(machine), before=note)).apply(with_static_cpus(POISON))
    assert found.end == "undone"
    assert stops == ["state", "start", "state", "start"]
    assert is_free(machine)


# --- reboot ---


@pytest.mark.parametrize("role", ["control-plane", "node"])
def test_a_file_that_is_read_at_boot_takes_a_drained_reboot_and_is_committed_after_it(role: str) -> None:
    machine = on(role)
    first = apply(machine, with_sysctl(role))
    assert first.failure is not None
    assert (first.end, first.failure.code, machine.systemd.reboots) == ("rebooting", "reboot-needed", 1)
    assert (machine.node_api.evicted, machine.node_api.cordoned) == ([APP], True)
    assert running(machine) == OLD[role], "nothing is committed before it has proven itself"
    machine, found = through_reboots(rebooted(machine), with_sysctl(role))
    assert (found.end, running(machine), machine.systemd.reboots) == ("committed", with_sysctl(role), 1)
    assert is_free(machine)


def test_until_the_machine_goes_down_a_run_only_asks_again() -> None:
    machine = on()
    for asked in range(1, 5):
        assert apply(machine, with_sysctl("node")).end == "rebooting"
        assert machine.systemd.reboots == asked
        assert running(machine) == OLD["node"]


def test_a_manifest_with_which_it_is_ill_after_the_reboot_is_undone_through_another_one() -> None:
    machine, found = through_reboots(on(), with_sysctl("node", POISON))
    assert (found.end, running(machine), machine.systemd.reboots) == ("undone", OLD["node"], 2)
    assert manifest_digest(with_sysctl("node", POISON)) in Generations(machine.files).quarantine
    assert SYSCTL not in machine.files.entries
    assert is_free(machine)


def test_a_machine_that_never_comes_up_with_it_goes_back() -> None:
    machine = on()
    target = with_sysctl("node")
    assert apply(machine, target).end == "rebooting"
    for _boot in range(MOST_ATTEMPTS):
        machine = rebooted(machine)
        with pytest.raises(Killed):  # it goes down again within each boot
            transaction(tapped(host_of(machine), before=Wire(3).before)).apply(target)
    machine, found = through_reboots(rebooted(machine), target)
    assert (found.end, running(machine)) == ("undone", OLD["node"])


# --- power cuts, every one of them ---


def cut_at(machine: MemoryHost, target: Manifest, last: int) -> MemoryHost:
    """Cut before the n-th change of the whole way, reboots that were asked for included."""
    wire = Wire(last)
    for _boot in range(6):
        try:
            found = transaction(tapped(host_of(machine), before=wire.before)).apply(target)
        except Killed:
            return machine
        if found.end != "rebooting":
            break
        machine = rebooted(machine)
    raise AssertionError(f"the way has no change {last}")


def way(target: Manifest) -> list[tuple[str, str]]:
    """Every change on the way to `target`, over reboots."""
    found: list[tuple[str, str]] = []
    machine = on()
    while True:
        before = len(found)
        ended: list[str] = []

        def act(host: object, ended: list[str] = ended) -> None:
            ended.append(transaction(host).apply(target).end)  # type: ignore[arg-type]

        at = machine
        found += calls_of(at, act)
        if ended != ["rebooting"]:
            return found
        assert len(found) > before
        machine = rebooted(at)


def calls_of(machine: MemoryHost, act: object) -> list[tuple[str, str]]:
    seen: list[tuple[str, str]] = []
    act(tapped(host_of(machine), before=lambda port, method, _arguments: seen.append((port, method))))  # type: ignore[operator]
    return seen


WAYS = {
    "a drain": (with_static_cpus(), with_static_cpus()),
    "a drain that is undone": (with_static_cpus(POISON), OLD["node"]),
    "a reboot": (with_sysctl("node"), with_sysctl("node")),
    "a reboot that is undone": (with_sysctl("node", POISON), OLD["node"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", WAYS)
@pytest.mark.parametrize("reboots", [True, False], ids=["power cut", "killed"])
def test_a_disturbing_change_cut_anywhere_ends_well_and_leaves_no_node_cordoned(what: str, reboots: bool) -> None:
    target, end = WAYS[what]
    for last, call in enumerate(way(target)):
        machine = cut_at(on(), target, last)
        machine = rebooted(machine) if reboots else machine
        machine, found = through_reboots(machine, target)
        at = f"cut before {last}: {call}"
        assert found.end in ("committed", "unchanged") if end == target else found.end == "undone", at
        assert running(machine) == end, at
        assert Generations(machine.files).journal is None, at
        assert is_free(machine), at
        assert leftovers(machine, end) <= set(KUBELET_STATE), at
        assert machine.node_api.bound == list(STAYING), at


@pytest.mark.slow
def test_the_ways_above_hold_what_they_are_named_for() -> None:
    drains, reboots = way(with_static_cpus()), way(with_sysctl("node"))
    assert drains.count(("node_api", "set_schedulable")) == 2
    assert ("systemd", "reboot") not in drains
    assert reboots.count(("systemd", "reboot")) == 1
    assert way(with_sysctl("node", POISON)).count(("systemd", "reboot")) == 2


def test_another_manifest_taken_between_reboots_leaves_nothing_of_the_first() -> None:
    machine = on()
    assert apply(machine, with_sysctl("node")).end == "rebooting"
    other = manifest("node", files=(ExtraFile(path="/etc/issue", content="x"),))
    machine, found = through_reboots(rebooted(machine), other)
    assert (found.end, machine.systemd.reboots) == ("committed", 2), "the kernel had read the first one's file"
    assert (SYSCTL in machine.files.entries, is_free(machine)) == (False, True)
    assert REBOOT_ASKED not in machine.files.entries


def test_a_machine_without_a_node_object_needs_no_drain() -> None:
    machine = on()
    machine.node_api = replace(machine.node_api, registered=False, bound=[])
    machine, found = through_reboots(machine, with_sysctl("node"))
    assert found.end == "committed"
