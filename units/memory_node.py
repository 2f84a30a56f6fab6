"""The container runtime and the API server's view of a machine in memory."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from units.memory_files import MemoryFiles
from units.node_api import NodePod
from units.pods import DIGEST_LABEL, DIRECTORY

_DIGEST = re.compile(rf"{DIGEST_LABEL}: '?([0-9a-f]{{32}})")
_CONTAINERD, _KUBELET = "containerd.service", "kubelet.service"


class _Active(Protocol):
    @property
    def active(self) -> set[str]: ...


class _Now(Protocol):
    def now(self) -> datetime: ...


@dataclass
class MemoryRuntime:
    """Runs every static pod that lies on the machine, at once, for as long as kubelet does."""

    files: MemoryFiles
    systemd: _Active

    def complaint(self) -> str:
        return "" if _CONTAINERD in self.systemd.active else "nothing answers on containerd's socket"

    def static_pods(self) -> dict[str, frozenset[str]]:
        if _KUBELET not in self.systemd.active:
            return {}
        found = {name: self.files.read(f"{DIRECTORY}/{name}") for name in self.files.list(DIRECTORY)}
        texts = {name: state.content.decode() for name, state in found.items() if state and state.content is not None}
        return {name.removesuffix(".yaml"): frozenset(_DIGEST.findall(text)) for name, text in texts.items()}


@dataclass
class MemoryNodeApi:
    """One Node in a cluster that outlives the machine. kubelet renews its lease for as long as it runs."""

    systemd: _Active
    clock: _Now
    registered: bool = True
    cordoned: bool = False
    bound: list[NodePod] = field(default_factory=list)
    evicted: list[NodePod] = field(default_factory=list)

    def lease_renewed(self, node: str) -> datetime | None:
        del node
        return self.clock.now() if self.registered and _KUBELET in self.systemd.active else None

    def schedulable(self, node: str) -> bool | None:
        del node
        return not self.cordoned if self.registered else None

    def set_schedulable(self, node: str, *, schedulable: bool) -> None:
        del node
        self.cordoned = not schedulable

    def pods(self, node: str) -> Sequence[NodePod]:
        del node
        return tuple(self.bound)

    def evict(self, pod: NodePod) -> str:
        self.evicted.append(pod)
        self.bound.remove(pod)
        return ""
