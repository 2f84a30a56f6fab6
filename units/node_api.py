"""NodeApi: the API server as this machine's kubelet sees it, with kubelet's own certificate and no other right.

A kubelet may read its own lease, cordon its own Node, list the pods bound to it and evict those: that is what the Node
authorizer and NodeRestriction allow it (rbac/bootstrappolicy/policy.go, admission/noderestriction; a real API server is
asked in tests/agent/test_node_api_real.py). So a node drains itself, and nobody else needs a right over it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

UNREACHABLE = "api-server-unreachable"


@dataclass(frozen=True, slots=True)
class NodePod:
    """A pod that is bound to this machine. `owner` is the kind of its controller, empty if it has none."""

    namespace: str
    name: str
    owner: str = ""
    mirror: bool = False  # of a static pod: kubelet's own
    ended: bool = False
    going: bool = False  # deleted, and kubelet has not ended it yet

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class NodeApi(Protocol):
    """Every method raises Retryable: `api-server-unreachable` if nothing answers there, another code if it says no."""

    def lease_renewed(self, node: str) -> datetime | None:
        """When kubelet last renewed its lease, by this machine's clock; None if it has none."""

    def schedulable(self, node: str) -> bool | None:
        """None if there is no such Node."""

    def set_schedulable(self, node: str, *, schedulable: bool) -> None: ...

    def pods(self, node: str) -> Sequence[NodePod]:
        """Those bound to this machine."""

    def evict(self, pod: NodePod) -> str:
        """Empty if it goes or is gone; else what keeps it: a disruption budget, in the API server's words."""


class NoNodeApi:
    """No API server knows this machine: one in memory, a preview."""

    def lease_renewed(self, node: str) -> datetime | None:
        del node
        return None

    def schedulable(self, node: str) -> bool | None:
        del node
        return None

    def set_schedulable(self, node: str, *, schedulable: bool) -> None: ...

    def pods(self, node: str) -> Sequence[NodePod]:
        del node
        return ()

    def evict(self, pod: NodePod) -> str:
        del pod
        return ""
