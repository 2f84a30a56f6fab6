"""What a publish says it will do to a running node is what the node then does."""

from typing import Any

import pytest

from tests.units.machines import FACTS, empty_machine, manifest
from units.actions import Disruption, actions
from units.converge import converge
from units.manifest import ExtraFile, KubeProxy, Manifest
from units.plan import plan
from units.transaction import Transaction


def said(before: Manifest, after: Manifest) -> list[str]:
    return [str(action) for action in actions(plan(before, FACTS), plan(after, FACTS))]


def changed(role: str, **changes: Any) -> tuple[Manifest, Manifest]:
    return manifest(role), manifest(role, **changes)


def with_kubelet(role: str, **fields: Any) -> Manifest:
    return manifest(role, group=manifest(role).group.model_copy(update={"kubelet": fields}))


CHANGES = {
    "nothing": (changed("node"), []),
    "an extra file": (changed("node", files=(ExtraFile(path="/etc/motd", content="x"),)), []),
    "kubelet's configuration": ((manifest("node"), with_kubelet("node", maxPods=50)), ["restarts kubelet.service"]),
    "no kube-proxy": (changed("node", kube_proxy=KubeProxy(enabled=False)), ["stops pod kube-proxy"]),
    "a flag of the API server": (
        changed(
            "control-plane",
            components=manifest().components.model_copy(update={"kube_apiserver": {"v": "4"}}),
        ),
        ["replaces pod kube-apiserver"],
    ),
    "a group's label": (
        (
            manifest("node"),
            manifest("node", group=manifest("node").group.model_copy(update={"labels": {"example.com/a": "b"}})),
        ),
        ["restarts kubelet.service"],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_disrupts_exactly_what_it_must(name: str) -> None:
    (before, after), expected = CHANGES[name]
    assert said(before, after) == expected


@pytest.mark.parametrize("name", CHANGES)
def test_a_machine_restarts_exactly_what_was_said(name: str) -> None:
    (before, after), expected = CHANGES[name]
    machine = empty_machine()
    Transaction(lambda _manifest: machine.host, FACTS).apply(before)
    pods = {path: state for path, state in machine.files.entries.items() if "/manifests/" in path}
    machine.systemd.restarts.clear()
    assert converge(plan(after, FACTS), machine.host).failure is None
    assert [f"restarts {unit}" for unit in machine.systemd.restarts] == [one for one in expected if "restarts" in one]
    replaced = [
        f"replaces pod {path.rpartition('/')[2][:-5]}" for path in pods if machine.files.entries[path] != pods[path]
    ]
    assert replaced == [one for one in expected if "replaces" in one]


def test_kubelets_resource_managers_need_a_drained_node() -> None:
    found = actions(plan(manifest("node"), FACTS), plan(with_kubelet("node", cpuManagerPolicy="static"), FACTS))
    assert found[0].disruption == Disruption.DRAIN
    assert "cpuManagerPolicy" in found[0].what


def test_the_worst_comes_first() -> None:
    after = with_kubelet("node", cpuManagerPolicy="static").model_copy(update={"kube_proxy": KubeProxy(enabled=False)})
    levels = [action.disruption for action in actions(plan(manifest("node"), FACTS), plan(after, FACTS))]
    assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize(
    "path", ["/etc/sysctl.d/90-ours.conf", "/etc/modprobe.d/ours.conf", "/etc/udev/rules.d/9.rules"]
)
def test_an_extra_file_that_is_read_at_boot_needs_a_reboot_when_it_comes_changes_and_goes(path: str) -> None:
    versions = [manifest("node", files=tuple(ExtraFile(path=path, content=text) for text in texts)) for texts in PATHS]
    for before, after in ((0, 1), (1, 2), (2, 0)):
        found = actions(plan(versions[before], FACTS), plan(versions[after], FACTS))
        assert [action.disruption for action in found] == [Disruption.REBOOT], (before, after)
        assert path in found[0].what
    assert actions(plan(versions[1], FACTS), plan(versions[1], FACTS)) == ()


PATHS = ((), ("a\n",), ("b\n",))
