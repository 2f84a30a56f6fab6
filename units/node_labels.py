"""The labels that a kubelet may not set on its own Node, and the request that sets them. Pure.

What a kubelet says of its group (`bootwright.io/group`) decides nothing here: a stolen worker would say what it likes.
The group comes from the issuer, which has it from EC2 and the signed manifest.
"""

from collections.abc import Mapping
from typing import Any

from units.manifest import Manifest
from units.services.kubelet import may_set

FIELD_MANAGER = "bootwright"
_CONTROL_PLANE = {"node-role.kubernetes.io/control-plane": ""}
_WORKER = {"node-role.kubernetes.io/node": ""}


def control_plane_labels(manifest: Manifest) -> dict[str, str]:
    """Of the node that this manifest is for."""
    return {**_withheld(manifest.group.labels), **_CONTROL_PLANE}


def worker_labels(manifest: Manifest, group: str) -> dict[str, str] | None:
    """Of a node of this worker group, as the control plane's manifest has it; None if it has no such group."""
    for found in manifest.identity.node_groups:
        if found.name == group:
            return {**_withheld(found.labels), **_WORKER}
    return None


def node_path(name: str) -> str:
    return f"/api/v1/nodes/{name}"


def label_patch(name: str, uid: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """For server-side apply: a label that is no longer among them goes away. `uid` binds it to the Node that was
    looked at: one of the same name that came meanwhile is another machine.
    """
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": uid, "labels": dict(labels)}}


def _withheld(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if not may_set(key)}
