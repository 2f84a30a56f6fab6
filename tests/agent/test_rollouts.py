"""A node's part of a rollout, from its signed release to the marker in the store."""

from dataclasses import replace
from typing import Any

import pytest

from agent.boot import boot
from tests.agent.boot_double import NodeDouble, instance
from tests.units.machines import Killed, rebooted, tapped
from tests.units.test_transaction import POISON, ProbesDouble
from units.generations import Generations
from units.host import Host
from units.manifest import ExtraFile, Manifest, Release, Rollout, Wave, manifest_digest
from units.rollout import EVERYONE
from units.status import NodeStatus

ME = instance().instance_id
PUBLISHED = "2026-06-01T00:00:00Z"
FAILED, OK = (f"clusters/outcome/cp-a/8/{outcome}/" for outcome in ("failed", "ok"))


class RollingDouble(NodeDouble):
    """A NodeDouble that runs its first manifest already, on a machine whose kubelet a poisoned one makes ill."""

    def host(self, manifest: Manifest) -> Host:
        return replace(super().host(manifest), probes=ProbesDouble(self.memory, self.memory.probes))


def running() -> RollingDouble:
    node = RollingDouble()
    assert boot(node) == 0
    return node


def offer(node: NodeDouble, candidate: Manifest, *, waves: tuple[Wave, ...] = (), **changes: Any) -> None:
    rollout = Rollout(serial=8, waves=waves or (Wave(cutoff=EVERYONE, budget=0),), opened=PUBLISHED, **changes)
    node.release = Release(serial=8, published=PUBLISHED, stable=node.manifest, candidate=candidate, rollout=rollout)


def good(node: NodeDouble) -> Manifest:
    return node.manifest.model_copy(update={"files": (ExtraFile(path="/etc/motd", content="new\n"),)})


def bad(node: NodeDouble) -> Manifest:
    group = node.manifest.group.model_copy(update={"kubelet": {"maxPods": POISON}})
    return node.manifest.model_copy(update={"group": group})


def current(node: NodeDouble) -> Manifest | None:
    return Generations(node.memory.files).current


def test_a_node_whose_wave_is_open_takes_the_candidate_and_marks_it() -> None:
    node = running()
    offer(node, good(node))
    assert boot(node) == 0
    assert current(node) == good(node)
    assert set(node.store.objects) == {OK + ME}
    status = node.reporter.status
    assert (status.choice, status.manifest) == ("candidate", manifest_digest(good(node)))


def test_a_candidate_that_makes_it_ill_is_undone_marked_and_told() -> None:
    node = running()
    offer(node, bad(node))
    assert boot(node) == 0
    assert current(node) == node.manifest
    assert set(node.store.objects) == {FAILED + ME}
    (condition,) = node.reporter.status.conditions
    assert condition.code == "manifest-undone"
    assert "kubelet is ill" in condition.message
    assert node.reporter.status.stage == "ready"


def test_a_candidate_that_is_wrong_is_refused_marked_and_told_and_stays_told() -> None:
    node = running()
    group = node.manifest.group.model_copy(update={"kubelet": {"maxPodz": 1}})
    offer(node, node.manifest.model_copy(update={"group": group}))
    for _run in range(2):
        assert boot(node) == 0
        assert current(node) == node.manifest
        assert set(node.store.objects) == {FAILED + ME}
        status = node.reporter.status
        (condition,) = status.conditions
        assert condition.code == "kubelet-config-invalid"
        assert "/var/lib/kubelet/config.yaml line" in condition.message
        assert (status.stage, status.manifest) == ("ready", manifest_digest(node.manifest))


def test_after_a_reboot_its_status_names_the_manifest_that_it_went_back_to() -> None:
    node = running()
    offer(node, bad(node))
    node.reporter = replace(node.reporter, status=NodeStatus(instance_id=""))
    boot(node)
    assert node.reporter.status.manifest == manifest_digest(node.manifest)


def with_sysctl(node: NodeDouble, **kubelet: int) -> Manifest:
    group = node.manifest.group.model_copy(update={"kubelet": kubelet})
    files = (ExtraFile(path="/etc/sysctl.d/90-ours.conf", content="vm.swappiness = 1\n"),)
    return node.manifest.model_copy(update={"group": group, "files": files})


@pytest.mark.parametrize("ends_well", [True, False])
def test_a_candidate_that_needs_a_reboot_is_marked_only_after_the_boots_that_it_takes(ends_well: bool) -> None:
    node = running()
    offer(node, with_sysctl(node) if ends_well else with_sysctl(node, maxPods=POISON))
    for _reboot in range(1 if ends_well else 2):
        assert boot(node) == 4
        status = node.reporter.status
        assert (status.stage, [one.code for one in status.conditions]) == ("retrying", ["reboot-needed"])
        assert node.store.objects == {}
        node.memory = rebooted(node.memory)
    assert boot(node) == 0
    assert set(node.store.objects) == {(OK if ends_well else FAILED) + ME}
    assert node.memory.systemd.reboots == (1 if ends_well else 2)
    assert (current(node) == node.manifest) != ends_well
    assert not node.memory.node_api.cordoned


def test_it_is_not_tried_again_and_stays_told() -> None:
    node = running()
    offer(node, bad(node))
    boot(node)
    before = node.memory.clock.ticks
    assert boot(node) == 0
    assert node.memory.clock.ticks == before  # no health window: nothing was applied
    (condition,) = node.reporter.status.conditions
    assert (condition.code, node.reporter.status.choice) == ("manifest-undone", "keep")


def test_a_corrected_candidate_is_taken_after_it() -> None:
    node = running()
    offer(node, bad(node))
    boot(node)
    offer(node, good(node))
    node.store.objects.clear()
    assert boot(node) == 0
    assert current(node) == good(node)
    assert node.reporter.status.conditions == ()


@pytest.mark.parametrize(
    ("objects", "why"),
    [
        ({"clusters/halt/cp-a": b""}, "halt object"),
        ({FAILED + "i-other": b""}, "1 failures use up the rollout's budget of 0"),
    ],
)
def test_the_store_can_stop_it_and_it_looks_again_each_minute(objects: dict[str, bytes], why: str) -> None:
    node = running()
    offer(node, good(node))
    node.store.objects |= objects
    assert boot(node) == 0
    assert current(node) == node.manifest
    status = node.reporter.status
    assert why in status.why
    assert status.candidate_waits
    node.store.objects.clear()
    assert boot(node) == 0
    assert current(node) == good(node)


def test_the_halt_of_another_group_with_a_longer_name_is_not_ours() -> None:
    node = running()
    offer(node, good(node))
    node.store.objects["clusters/halt/cp-a-too"] = b""
    boot(node)
    assert current(node) == good(node)


def test_a_store_that_cannot_be_asked_stops_a_candidate_and_nothing_else() -> None:
    node = running()
    offer(node, good(node))
    node.store.silent = True
    assert boot(node) == 0
    assert current(node) == node.manifest


def test_a_drifted_node_takes_no_candidate() -> None:
    node = running()
    node.memory.files.write("/etc/crictl.yaml", b"owned\n", mode=0o644, owner="root", group="root")
    offer(node, good(node))
    assert boot(node, repair=False) == 0
    assert current(node) == node.manifest
    status = node.reporter.status
    assert status.drift == ("file:/etc/crictl.yaml",)
    assert "drifted" in status.why
    assert [condition.code for condition in status.conditions] == ["drifted"]


def test_a_node_of_a_later_wave_does_not_ask_the_store_at_all() -> None:
    node = running()
    waves = (Wave(cutoff="0" * 64, budget=0), Wave(cutoff=EVERYONE, budget=0))
    offer(node, good(node), waves=waves)
    node.store.silent = True
    assert boot(node) == 0
    status = node.reporter.status
    assert (status.choice, status.candidate_waits) == ("keep", False)
    assert status.why == "this machine is in wave 2 of 2; 1 are open"


def test_an_abort_brings_it_back_and_removes_what_the_candidate_brought() -> None:
    node = running()
    offer(node, node.manifest.model_copy(update={"files": (ExtraFile(path="/etc/issue", content="x"),)}))
    boot(node)
    assert "/etc/issue" in node.memory.files.entries
    node.release = Release(serial=9, published=PUBLISHED, stable=node.manifest)
    assert boot(node) == 0
    assert current(node) == node.manifest
    assert "/etc/issue" not in node.memory.files.entries


def test_a_marker_that_was_not_written_is_written_by_the_next_run() -> None:
    node = running()
    offer(node, good(node))
    boot(node)
    node.store.objects.clear()
    assert boot(node) == 0
    assert set(node.store.objects) == {OK + ME}


def test_a_candidate_cut_off_half_way_is_finished_by_the_very_next_run() -> None:
    """What its own apply has changed already is no drift, and a kubelet that it has stopped is no illness."""
    node = running()
    offer(node, good(node))

    def before(port: str, method: str, arguments: tuple[Any, ...]) -> None:
        if (port, method) == ("files", "write") and arguments[0] == "/etc/motd":
            raise Killed

    whole = node.host
    node.host = lambda manifest: tapped(whole(manifest), before=before)  # type: ignore[method-assign]
    with pytest.raises(Killed):
        boot(node)
    node.host = whole  # type: ignore[method-assign]
    node.memory.systemd.active.discard("kubelet.service")
    assert boot(node, repair=False) == 0
    assert current(node) == good(node)
