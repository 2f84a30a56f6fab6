"""The part of kube-controller-manager that others rely on: a node that went silent is not Ready any more."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from .etcd import Etcd, EtcdError, Kept
from .objects import Target

GRACE_SECONDS = 40.0  # --node-monitor-grace-period of 1.31; 50 s since 1.32
LOOK_SECONDS = 5.0
NODES = Target("", "v1", "nodes")


def watch_nodes(etcd: Etcd, say: Callable[[str], None]) -> None:
    """For ever. What counts is when a change was seen here: a node's own clock may be anywhere."""
    seen: dict[str, tuple[str, float]] = {}
    while True:
        try:
            for node in etcd.below(NODES.collection_key):
                name, beat = node.value["metadata"]["name"], heartbeat(node)
                if seen.get(name, ("", 0.0))[0] != beat:
                    seen[name] = (beat, time.monotonic())
                elif time.monotonic() - seen[name][1] > GRACE_SECONDS and is_ready(node):
                    etcd.put(NODES.key(name), silenced(node), revision=node.revision)
                    say(f"node {name} has not been heard of for {GRACE_SECONDS:.0f} s: Ready is Unknown")
        except EtcdError as error:
            say(f"cannot watch the nodes: {error}")
        time.sleep(LOOK_SECONDS)


def heartbeat(node: Kept) -> str:
    return "".join(one.get("lastHeartbeatTime", "") for one in _conditions(node) if one["type"] == "Ready")


def is_ready(node: Kept) -> bool:
    return any((one["type"], one["status"]) == ("Ready", "True") for one in _conditions(node))


def silenced(node: Kept) -> dict[str, object]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    unknown = {
        "status": "Unknown",
        "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.",
        "lastTransitionTime": now,
    }
    conditions = [{**one, **unknown} if one["type"] == "Ready" else one for one in _conditions(node)]
    return {**node.value, "status": {**node.value["status"], "conditions": conditions}}


def _conditions(node: Kept) -> list[dict[str, str]]:
    return list(node.value.get("status", {}).get("conditions", []))
