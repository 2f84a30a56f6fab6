"""What a change of manifest does to a running node, before anybody publishes it: the least disruption that is enough.

| a change of                                  | does                                                        |
|----------------------------------------------|-------------------------------------------------------------|
| certificate, kubeconfig, secret, hosts block | nothing: read again at the next use (etcd-pki.md 3.4)        |
| file, directory, asset, image, sysctl, ...   | nothing by itself; who reads it is below                    |
| unit, or a file that it reads at its start   | restart of that unit                                        |
| static pod, or a file that it reads          | kubelet replaces that pod                                   |
| kubelet's resource managers                  | drain: running pods keep the old assignment (KEP-1769)      |
| kernel module or sysctl that goes            | reboot: the running kernel keeps it                         |
| extra file that is read when a machine boots | reboot, drained before                                      |

Drain and reboot are carried out by `units.disturbing`, the others follow from the resources themselves.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from units.files import File
from units.kernel import KernelModule, Sysctl
from units.pods import StaticPod
from units.render import yaml_value
from units.resource import Resource
from units.services.kubelet import CONFIG as KUBELET_CONFIG
from units.systemd import Unit

# kubelet refuses to start with another policy until its state file is removed, which takes a drain.
DRAINING_FIELDS = (
    "cpuManagerPolicy",
    "memoryManagerPolicy",
    "reservedMemory",
    "reservedSystemCPUs",
    "topologyManagerPolicy",
    "topologyManagerScope",
)


# Nothing reads these again once a machine is up (sysctl.d(5), modules-load.d(5), modprobe.d(5), udev(7)).
READ_AT_BOOT = ("/etc/modprobe.d/", "/etc/modules-load.d/", "/etc/sysctl.d/", "/etc/udev/rules.d/")


class Disruption(IntEnum):
    """Worse is greater."""

    NONE = 0
    RESTART_UNIT = 1
    REPLACE_POD = 2
    DRAIN = 3
    REBOOT = 4


@dataclass(frozen=True, slots=True)
class Action:
    disruption: Disruption
    what: str

    def __str__(self) -> str:
        return self.what


def actions(before: Iterable[Resource], after: Iterable[Resource]) -> tuple[Action, ...]:
    """Everything that going from one plan to the other disrupts, the worst first; empty if nothing is."""
    old, new = ({resource.key: resource for resource in plan} for plan in (before, after))
    found = [*_restarts(old, new), *_ends(old, new), *_reboots(old, new)]
    return tuple(sorted(found, key=lambda action: (-action.disruption, action.what)))


def _restarts(old: dict[str, Resource], new: dict[str, Resource]) -> Iterator[Action]:
    for key, now in new.items():
        was = old.get(key)
        if isinstance(now, Unit):
            if not isinstance(was, Unit):
                yield Action(Disruption.NONE, f"starts {now.name}")
            elif was.inputs != now.inputs:
                yield Action(Disruption.RESTART_UNIT, f"restarts {now.name}")
        elif isinstance(now, StaticPod):
            if not isinstance(was, StaticPod):
                yield Action(Disruption.NONE, f"starts pod {now.name}")
            elif was.manifest() != now.manifest():
                yield Action(Disruption.REPLACE_POD, f"replaces pod {now.name}")
        elif isinstance(now, File) and isinstance(was, File) and now.path == KUBELET_CONFIG:
            yield from _drains(was, now)


def _drains(was: File, now: File) -> Iterator[Action]:
    if was.content == now.content:
        return
    old, new = yaml_value(was.content), yaml_value(now.content)
    for field in DRAINING_FIELDS:
        if old.get(field) != new.get(field):
            yield Action(Disruption.DRAIN, f"needs a drained node: kubelet's {field} changes")


def _reboots(old: dict[str, Resource], new: dict[str, Resource]) -> Iterator[Action]:
    for key in sorted(old.keys() | new.keys()):
        was, now = (plan.get(key) for plan in (old, new))
        path = next((one.path for one in (was, now) if isinstance(one, File) and one.kind == "extra-file"), "")
        if path.startswith(READ_AT_BOOT) and was != now:
            yield Action(Disruption.REBOOT, f"needs a reboot: {path} is read when the machine boots")


def _ends(old: dict[str, Resource], new: dict[str, Resource]) -> Iterator[Action]:
    for key, was in old.items():
        if key in new:
            continue
        if isinstance(was, Unit):
            yield Action(Disruption.RESTART_UNIT, f"stops {was.name}")
        elif isinstance(was, StaticPod):
            yield Action(Disruption.REPLACE_POD, f"stops pod {was.name}")
        elif isinstance(was, KernelModule | Sysctl):
            yield Action(Disruption.REBOOT, f"needs a reboot: {key} stays in the running kernel")
