"""The API objects without which nobody may do anything in a new cluster: RBAC roles and bindings. Pure.

No node carries a system:masters certificate (DESIGN section 5), so the operators' group and the API server's own client
get their rights from RBAC, where they can be taken away again.
"""

from typing import Any

_RBAC = "rbac.authorization.k8s.io"
VIEWERS = "bootwright:viewers"  # of `coordinator kubeconfig --read-only`
AGENTS = "bootwright:agents"  # the organization of pki's profile `agent`


def cluster_objects() -> tuple[dict[str, Any], ...]:
    """In kubeadm's names, so that people and tools recognise them (etcd-pki.md 3.1)."""
    return (
        _binding("kubeadm:cluster-admins", "cluster-admin", {"kind": "Group", "name": "kubeadm:cluster-admins"}),
        # Everything in every namespace but secrets, and nothing of the whole cluster.
        _binding(VIEWERS, "view", {"kind": "Group", "name": VIEWERS}),
        # Without it the API server may not fetch logs or exec: kubelets ask it back by webhook.
        _binding(
            "kubeadm:apiserver-kubelet-client",
            "system:kubelet-api-admin",
            {"kind": "User", "name": "kube-apiserver-kubelet-client"},
        ),
        _binding("bootwright:node-proxier", "system:node-proxier", {"kind": "User", "name": "system:kube-proxy"}),
        # Control-plane agents: the issuer asks whether a Node is Ready, sync sets the labels kubelets may not set.
        _role(AGENTS, {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "patch"]}),
        _binding(AGENTS, AGENTS, {"kind": "Group", "name": AGENTS}),
    )


def object_path(value: dict[str, Any]) -> str:
    """Where the API server keeps it; all of ours are cluster-wide RBAC."""
    return f"/apis/{_RBAC}/v1/{value['kind'].lower()}s/{value['metadata']['name']}"


def _role(name: str, *rules: dict[str, list[str]]) -> dict[str, Any]:
    return {**_head("ClusterRole", name), "rules": list(rules)}


def _binding(name: str, role: str, subject: dict[str, str]) -> dict[str, Any]:
    return {
        **_head("ClusterRoleBinding", name),
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": _RBAC, **subject}],
    }


def _head(kind: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "bootwright"}},
    }
