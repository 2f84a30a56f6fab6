"""A machine goes from one manifest to the next whole, or stays on what it had, whatever cuts it off and when."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pytest

from tests.units.machines import FACTS, Killed, changes_of, empty_machine, manifest, rebooted, tapped
from units.applied import Applied
from units.converge import converge
from units.errors import Invalid, Retryable
from units.generations import JOURNAL, QUARANTINE, Generations, Journal
from units.health import KUBELET_HEALTH
from units.host import Answer, Host, Probes
from units.manifest import Components, ExtraFile, KubeProxy, Manifest, manifest_digest
from units.memory import MemoryHost, MemorySystemd
from units.plan import plan
from units.services.kubelet import CONFIG
from units.transaction import MOST_ATTEMPTS, Transaction
from units.window import STEADY_SECONDS

POISON = 123  # maxPods of a manifest with which kubelet does not work
OLD = {role: manifest(role) for role in ("control-plane", "node")}


def with_file(role: str, text: str) -> Manifest:
    return manifest(role, files=(ExtraFile(path="/etc/motd", content=text),))


def with_kubelet(role: str, pods: int, **changes: Any) -> Manifest:
    group = OLD[role].group.model_copy(update={"kubelet": {"maxPods": pods}})
    return manifest(role, group=group, **changes)


NEW = {role: with_kubelet(role, 50, kube_proxy=KubeProxy(enabled=False)) for role in OLD}
BAD = {role: with_kubelet(role, POISON, files=(ExtraFile(path="/etc/issue", content="bad\n"),)) for role in OLD}


@dataclass
class ProbesDouble:
    """The machine's own probes, but kubelet is ill while its configuration is poisoned."""

    machine: MemoryHost
    inner: Probes

    def get(self, url: str) -> Answer | None:
        config = self.machine.files.read(CONFIG)
        if url == KUBELET_HEALTH and config is not None and f"maxPods: {POISON}".encode() in (config.content or b""):
            return Answer(500, "kubelet is ill")
        return self.inner.get(url)


def host_of(machine: MemoryHost) -> Host:
    return replace(machine.host, probes=ProbesDouble(machine, machine.probes))


def transaction(host: Host) -> Transaction:
    return Transaction(lambda _manifest: host, FACTS)


def apply(machine: MemoryHost, target: Manifest, *, repair: bool = True) -> Applied:
    return transaction(host_of(machine)).apply(target, repair=repair)


def running(machine: MemoryHost) -> Manifest | None:
    return Generations(machine.files).current


def on(role: str) -> MemoryHost:
    machine = empty_machine()
    assert apply(machine, OLD[role]).end == "committed"
    return machine


def leftovers(machine: MemoryHost, target: Manifest) -> set[str]:
    """Files that a machine that never ran anything but `target` would not have."""
    fresh = empty_machine()
    apply(fresh, target)
    ours = ("/etc/", "/usr/local/", "/var/lib/kubelet/")
    return {path for path in machine.files.entries.keys() - fresh.files.entries.keys() if path.startswith(ours)} - {
        f"{directory}" for directory, state in machine.files.entries.items() if state.kind == "directory"
    }


ROLES = pytest.mark.parametrize("role", ["control-plane", "node"])


@ROLES
def test_the_first_manifest_is_committed_without_a_health_window(role: str) -> None:
    machine = on(role)
    assert running(machine) == OLD[role]
    assert machine.clock.ticks == 0
    assert Generations(machine.files).journal is None


@ROLES
def test_the_same_manifest_again_changes_nothing_and_waits_for_nothing(role: str) -> None:
    machine = on(role)
    before = dict(machine.files.entries)
    found = apply(machine, OLD[role])
    assert (found.end, found.report.changed, machine.clock.ticks) == ("unchanged", (), 0)
    assert machine.files.entries == before


@ROLES
def test_a_new_manifest_is_committed_once_it_was_well_for_a_while(role: str) -> None:
    machine = on(role)
    found = apply(machine, NEW[role])
    assert (found.end, running(machine)) == ("committed", NEW[role])
    assert machine.clock.ticks >= STEADY_SECONDS


@ROLES
def test_what_the_new_manifest_does_not_want_is_removed(role: str) -> None:
    machine = on(role)
    assert "/etc/kubernetes/manifests/kube-proxy.yaml" in machine.files.entries
    apply(machine, NEW[role])
    assert leftovers(machine, NEW[role]) == set()
    again = apply(machine, NEW[role])
    assert again.report.changed == ()


@ROLES
def test_a_manifest_that_makes_the_node_ill_is_undone_and_remembered(role: str) -> None:
    machine = on(role)
    found = apply(machine, BAD[role])
    assert found.end == "undone"
    assert found.failure is not None
    assert (found.failure.code, "kubelet: HTTP 500: kubelet is ill" in found.failure.message) == (
        "manifest-undone",
        True,
    )
    assert running(machine) == OLD[role]
    assert leftovers(machine, OLD[role]) == set()
    kept = Generations(machine.files)
    assert set(kept.quarantine) == {manifest_digest(BAD[role])}
    assert kept.journal is None
    assert converge(plan(OLD[role], FACTS), machine.host).changed == ()


class ShortLivedKubeletDouble(MemorySystemd):
    """kubelet is gone before anybody looks, with a poisoned configuration."""

    def _run(self, unit: str) -> None:
        super()._run(unit)
        config = self.files.read(CONFIG)
        if (
            unit == "kubelet.service"
            and config is not None
            and f"maxPods: {POISON}".encode() in (config.content or b"")
        ):
            self.active.discard(unit)


def test_a_manifest_whose_kubelet_is_gone_at_once_is_undone_in_the_same_run() -> None:
    """It is not waited for, as a store or an issuer would be: in the lab such a node stayed ill for three polls."""
    machine = on("node")
    systemd = ShortLivedKubeletDouble(
        **{one.name: getattr(machine.systemd, one.name) for one in fields(machine.systemd)}
    )
    applied = transaction(replace(host_of(machine), systemd=systemd)).apply(BAD["node"])
    assert (applied.end, applied.running) == ("undone", manifest_digest(OLD["node"]))
    assert applied.failure is not None
    assert "kubelet.service" in applied.failure.message
    assert leftovers(machine, OLD["node"]) == set()


def test_what_was_ill_before_is_not_the_new_manifests_fault() -> None:
    machine = on("control-plane")
    machine.systemd.active.discard("bootwright-etcd-main.service")  # and with it every health check but kubelet's
    machine.probes = replace(machine.probes, systemd=machine.systemd)
    journal_of: list[tuple[str, ...]] = []
    original = Generations.write_journal

    def spied(self: Generations, journal: Any) -> None:
        journal_of.append(journal.well_before)
        original(self, journal)

    Generations.write_journal = spied  # type: ignore[method-assign]
    try:
        assert apply(machine, NEW["control-plane"]).end == "committed"
    finally:
        Generations.write_journal = original  # type: ignore[method-assign]
    assert "kubelet" in journal_of[0]
    assert not {"etcd main", "kube-apiserver", "kube-scheduler"} & set(journal_of[0])


def changed_by(machine: MemoryHost, act: Callable[[], object]) -> set[str]:
    before = dict(machine.files.entries)
    act()
    after = machine.files.entries
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


DOUBLED = manifest("node", files=(ExtraFile(path="/usr/local/bin/kubelet", content="x"),))


def test_a_first_manifest_that_cannot_be_planned_touches_nothing() -> None:
    machine = empty_machine()
    with pytest.raises(Invalid):
        apply(machine, DOUBLED)
    assert machine.files.entries == {}


# --- shown to those who must read it before anything is switched ---


@dataclass
class ComplainingVerifierDouble:
    """containerd or systemd that does not like what it is shown, and a list of what it was shown."""

    containerd: tuple[str, ...] = ()
    systemd: tuple[str, ...] = ()
    shown: list[str] = field(default_factory=list)

    def containerd_config(self, text: str) -> tuple[str, ...]:
        self.shown.append(text)
        return self.containerd

    def units(self, texts: Mapping[str, str]) -> tuple[str, ...]:
        self.shown += texts
        return self.systemd


def misspelt() -> Manifest:
    group = OLD["node"].group.model_copy(update={"kubelet": {"maxPodz": 50}})
    return manifest("node", group=group)


WRONG = {
    "kubelet-config-invalid": (misspelt(), "/var/lib/kubelet/config.yaml line"),
    "containerd-config-invalid": (
        manifest("node", pause_image="pause:x"),
        "/etc/containerd/config.toml: line 2: no such key",
    ),
    "unit-invalid": (
        manifest("node", components=Components(kubelet={"v": "3"})),
        "/etc/systemd/system/kubelet.service:5: no",
    ),
    "plan-impossible": (DOUBLED, "/usr/local/bin/kubelet: claimed twice"),
}


@pytest.mark.parametrize("code", WRONG)
def test_a_manifest_that_is_wrong_is_refused_before_anything_is_switched(code: str) -> None:
    machine = on("node")
    target, said = WRONG[code]
    verifier = ComplainingVerifierDouble(("line 2: no such key",), ("kubelet.service:5: no",))
    if code == "kubelet-config-invalid":
        verifier = ComplainingVerifierDouble()
    found: list[Applied] = []
    host = replace(host_of(machine), verifier=verifier)
    touched = changed_by(machine, lambda: found.append(transaction(host).apply(target)))
    assert touched == {QUARANTINE}
    (applied,) = found
    assert applied.failure is not None
    assert (applied.end, applied.failure.code) == ("refused", code)
    assert said in applied.failure.message
    assert (applied.digest, applied.running) == (manifest_digest(target), manifest_digest(OLD["node"]))
    kept = Generations(machine.files).quarantine[manifest_digest(target)]
    assert (kept.code, said in kept.reason) == (code, True)
    assert machine.clock.ticks == 0


def test_nobody_is_shown_what_does_not_change() -> None:
    machine = on("node")
    verifier = ComplainingVerifierDouble()
    transaction(replace(host_of(machine), verifier=verifier)).apply(with_file("node", "other\n"))
    assert verifier.shown == []


def test_a_wrong_manifest_in_the_middle_of_another_leads_back_to_what_ran_before() -> None:
    machine = on("node")
    begun = with_another_kubelet().model_copy(update={"files": (ExtraFile(path="/etc/issue", content="x"),)})
    transaction(replace(host_of(machine), assets=SilentAssetsDouble())).apply(begun)
    found = apply(machine, misspelt())
    assert (found.end, found.running) == ("refused", manifest_digest(OLD["node"]))
    assert running(machine) == OLD["node"]
    assert Generations(machine.files).journal is None
    assert set(Generations(machine.files).quarantine) == {manifest_digest(misspelt())}
    assert leftovers(machine, OLD["node"]) == set()


@dataclass
class SilentAssetsDouble:
    """A store that does not answer."""

    def obtain(self, sha256: str, size: int) -> str:
        del size
        raise Retryable("s3-unreachable", f"cannot fetch {sha256[:8]}")


def with_another_kubelet() -> Manifest:
    return manifest("node", assets=(OLD["node"].assets[0].model_copy(update={"sha256": "c" * 64}),))


def test_a_store_that_does_not_answer_is_waited_for_and_then_given_up() -> None:
    machine = on("node")
    for _attempt in range(MOST_ATTEMPTS):
        found = transaction(replace(host_of(machine), assets=SilentAssetsDouble())).apply(with_another_kubelet())
        assert found.end == "failed"
        assert running(machine) == OLD["node"]
    found = transaction(replace(host_of(machine), assets=SilentAssetsDouble())).apply(with_another_kubelet())
    assert found.end == "undone"
    assert running(machine) == OLD["node"]


def test_a_corrected_manifest_is_taken_in_the_middle_of_another_and_leaves_nothing_of_it() -> None:
    machine = on("node")
    silent = replace(host_of(machine), assets=SilentAssetsDouble())
    begun = with_another_kubelet().model_copy(update={"files": (ExtraFile(path="/etc/issue", content="x"),)})
    transaction(silent).apply(begun)
    assert apply(machine, with_file("node", "third\n")).end == "committed"
    assert leftovers(machine, with_file("node", "third\n")) == set()


def test_only_the_current_and_the_previous_generation_are_kept() -> None:
    machine = on("node")
    for number in range(5):
        assert apply(machine, with_file("node", f"{number}\n")).end == "committed"
    kept = [name for name in machine.files.list("/var/lib/bootwright/generations") if name != "current.json"]
    assert sorted(kept) == sorted(f"{manifest_digest(with_file('node', text))}.json" for text in ("3\n", "4\n"))


def test_a_journal_that_cannot_be_read_counts_as_none() -> None:
    machine = on("node")
    machine.files.write(JOURNAL, b"{half", mode=0o600, owner="root", group="root")
    assert apply(machine, NEW["node"]).end == "committed"


# --- drift ---


def test_drift_is_repaired_or_only_told_as_the_operator_wants() -> None:
    machine = on("node")
    machine.files.write("/etc/motd", b"owned\n", mode=0o644, owner="root", group="root")
    machine.systemd.active.discard("kubelet.service")
    told = apply(machine, OLD["node"], repair=False)
    assert {outcome.key for outcome in told.drift} == {"extra-file:/etc/motd", "unit:kubelet.service"}
    assert (told.end, told.report.changed) == ("unchanged", ())
    assert machine.files.entries["/etc/motd"].content == b"owned\n"
    repaired = apply(machine, OLD["node"])
    assert {outcome.key for outcome in repaired.report.changed} == {outcome.key for outcome in told.drift}
    assert apply(machine, OLD["node"], repair=False).drift == ()


def test_what_comes_due_is_done_even_where_drift_is_only_told() -> None:
    machine = on("node")
    machine.files.remove("/etc/kubernetes/pki/kubelet/server.pem")
    found = apply(machine, OLD["node"], repair=False)
    assert [outcome.key for outcome in found.report.changed] == ["certificates:issuer"]
    assert found.drift == ()


# --- power cuts, every one of them ---


class Wire:
    """Ends the run before its n-th change, as a power cut would."""

    def __init__(self, last: int) -> None:
        self.left = last

    def before(self, _port: str, _method: str, _arguments: tuple[Any, ...]) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1


def cut(machine: MemoryHost, target: Manifest, last: int) -> None:
    with pytest.raises(Killed):
        transaction(tapped(host_of(machine), before=Wire(last).before)).apply(target)


def calls(start: Callable[[], MemoryHost], target: Manifest) -> list[tuple[str, str]]:
    machine = start()
    return changes_of(host_of(machine), lambda host: transaction(host).apply(target))


@pytest.mark.slow
@ROLES
@pytest.mark.parametrize("reboots", [True, False])
def test_a_good_manifest_cut_anywhere_is_committed_by_the_next_run(role: str, reboots: bool) -> None:
    for last, call in enumerate(calls(lambda: on(role), NEW[role])):
        machine = on(role)
        cut(machine, NEW[role], last)
        machine = rebooted(machine) if reboots else machine
        found = apply(machine, NEW[role])
        assert found.end in ("committed", "unchanged"), f"cut before {last}: {call}"
        assert running(machine) == NEW[role]
        assert Generations(machine.files).journal is None
        assert leftovers(machine, NEW[role]) == set(), f"cut before {last}: {call}"


@pytest.mark.slow
@ROLES
@pytest.mark.parametrize("reboots", [True, False])
def test_a_bad_manifest_cut_anywhere_ends_on_the_old_one(role: str, reboots: bool) -> None:
    for last, call in enumerate(calls(lambda: on(role), BAD[role])):
        machine = on(role)
        cut(machine, BAD[role], last)
        machine = rebooted(machine) if reboots else machine
        found = apply(machine, BAD[role])
        # Cut after the undo was committed, this very call begins it again; a node asks its quarantine first.
        assert found.end == "undone", f"cut before {last}: {call}"
        assert running(machine) == OLD[role]
        assert manifest_digest(BAD[role]) in Generations(machine.files).quarantine
        assert leftovers(machine, OLD[role]) == set(), f"cut before {last}: {call}"


def test_a_wrong_manifest_cut_anywhere_is_refused_by_the_next_run() -> None:
    found = calls(lambda: on("node"), misspelt())
    assert found == [("files", "write")]  # the quarantine, and nothing else
    for last in range(len(found)):
        machine = on("node")
        cut(machine, misspelt(), last)
        again = apply(rebooted(machine), misspelt())
        assert (again.end, again.running) == ("refused", manifest_digest(OLD["node"]))


@pytest.mark.slow
def test_an_undo_cut_anywhere_is_finished_before_another_manifest_is_taken_and_blames_only_the_one_undone() -> None:
    undoing = 0
    for last, call in enumerate(calls(lambda: on("node"), BAD["node"])):
        machine = on("node")
        cut(machine, BAD["node"], last)
        journal = Generations(machine.files).journal
        undoing += journal is not None and journal.phase == "undoing"
        found = apply(machine, NEW["node"])
        assert (found.end, found.digest) == ("committed", manifest_digest(NEW["node"])), f"cut before {last}: {call}"
        assert found.running == manifest_digest(NEW["node"])
        assert running(machine) == NEW["node"]
        assert Generations(machine.files).journal is None
        assert manifest_digest(NEW["node"]) not in Generations(machine.files).quarantine
        assert leftovers(machine, NEW["node"]) == set(), f"cut before {last}: {call}"
    assert undoing > 5, "no cut fell into the undo"


def test_an_undo_that_does_not_end_is_told_of_the_manifest_that_is_undone() -> None:
    machine = on("node")
    previous, begun = OLD["node"], with_another_kubelet()
    kept = Generations(machine.files)
    kept.keep(begun)
    kept.write_journal(Journal(target=manifest_digest(begun), previous=manifest_digest(previous), phase="undoing"))
    machine.files.remove("/usr/local/bin/kubelet")
    found = transaction(replace(host_of(machine), assets=SilentAssetsDouble())).apply(NEW["node"])
    assert (found.end, found.digest, found.running) == ("failed", manifest_digest(begun), manifest_digest(previous))
    assert found.failure is not None
    assert found.failure.code == "undo-failed"


@pytest.mark.slow
def test_a_machine_that_is_cut_again_and_again_goes_back() -> None:
    machine = on("node")
    for _attempt in range(MOST_ATTEMPTS):
        cut(machine, NEW["node"], 3)
    assert apply(machine, NEW["node"]).end == "undone"
    assert running(machine) == OLD["node"]
