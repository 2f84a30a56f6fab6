"""Drain: nothing new comes to this machine, and what runs on it goes elsewhere, as its disruption budgets allow."""

from units.errors import Retryable
from units.host import Host
from units.node_api import NodePod

DRAIN_SECONDS = 300.0
_PAUSE = 5.0


def must_go(pod: NodePod) -> bool:
    """Static pods and those of a DaemonSet would only come back: `kubectl drain` leaves them too."""
    return not (pod.mirror or pod.ended or pod.owner == "DaemonSet")


def drain(node: str, host: Host) -> None:
    """Evict until nothing is left that must go. Retryable `drain-unfinished` names what stays, and why.

    A pod without a controller goes as well, and nobody makes it anew.
    """
    deadline = host.clock.monotonic() + DRAIN_SECONDS
    while left := [pod for pod in host.node_api.pods(node) if must_go(pod)]:
        kept = {pod: host.node_api.evict(pod) for pod in left if not pod.going}
        said = "; ".join(f"{pod}: {kept.get(pod) or 'is ending'}" for pod in left[:5])
        if host.clock.monotonic() >= deadline:
            raise Retryable(
                "drain-unfinished",
                f"{len(left)} pods did not leave {node} within {DRAIN_SECONDS:.0f} s: {said}",
                remedy="look at their disruption budgets (kubectl get pdb -A): with more replicas they can go",
            )
        host.clock.wait(_PAUSE, f"draining {node}: {said}")
