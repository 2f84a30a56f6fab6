"""Who may do what: RBAC from the objects of the cluster, the Node authorizer, NodeRestriction. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]

MASTERS, NODES = "system:masters", "system:nodes"
RBAC = "rbac.authorization.k8s.io"
# Of what every cluster has from the start, the roles that ours are bound to.
BUILT_IN: Mapping[str, tuple[Object, ...]] = {
    "cluster-admin": ({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},),
    "system:kubelet-api-admin": ({"apiGroups": [""], "resources": ["nodes", "nodes/*"], "verbs": ["*"]},),
    "system:node-proxier": (
        {"apiGroups": [""], "resources": ["services", "endpoints", "nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ),
}
# NodeRestriction, plugin/pkg/admission/noderestriction: what a kubelet may say of itself in reserved domains.
OWN_LABELS = {
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
}


@dataclass(frozen=True, slots=True)
class User:
    name: str
    groups: frozenset[str]

    @property
    def node(self) -> str:
        """The node whose kubelet this is, "" for everybody else."""
        return self.name.removeprefix("system:node:") if NODES in self.groups and ":node:" in self.name else ""


@dataclass(frozen=True, slots=True)
class Request:
    """verb: get, list, watch, create, update, patch, delete. resource: with its subresource, "nodes/status".

    node: of a list of pods, the one that they are bound to.
    """

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""
    node: str = ""


def is_allowed(user: User, request: Request, objects: Iterable[Object]) -> bool:
    """objects: the cluster's roles and bindings."""
    if MASTERS in user.groups or _node_may(user.node, request):
        return True
    found = list(objects)
    return any(_covers(rule, request) for rule in _rules(user, request.namespace, found))


def forbidden_changes(user: User, request: Request, before: Object, after: Object) -> str:
    """NodeRestriction: why a kubelet may not make this change, "" when it may or is none."""
    if not user.node or request.group or request.resource.partition("/")[0] != "nodes":
        return ""
    name = after.get("metadata", {}).get("name") or request.name
    if name != user.node:
        return f"node {user.node!r} is not allowed to modify node {name!r}"
    old, new = _labels(before), _labels(after)
    changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
    if wrong := sorted(key for key in changed if not _is_own(key)):
        return f"is not allowed to modify labels: {', '.join(wrong)}"
    taints = [value.get("spec", {}).get("taints") for value in (before, after)]
    if before and taints[0] != taints[1]:
        return f"node {user.node!r} is not allowed to modify taints"
    return ""


def forbidden_eviction(user: User, pod: Object) -> str:
    """NodeRestriction: why a kubelet may not evict this pod, "" when it may."""
    if not user.node or bound_node(pod) == user.node:
        return ""
    return f"node {user.node!r} can only evict pods with spec.nodeName set to itself"


def bound_node(pod: Object) -> str:
    return str(pod.get("spec", {}).get("nodeName", ""))


def _labels(value: Object) -> Mapping[str, str]:
    return dict(value.get("metadata", {}).get("labels") or {})


def _is_own(label: str) -> bool:
    domain = label.rpartition("/")[0]
    if domain == "node-restriction.kubernetes.io" or domain.endswith(".node-restriction.kubernetes.io"):
        return False
    if label in OWN_LABELS or _is_in(domain, ("kubelet.kubernetes.io", "node.kubernetes.io")):
        return True
    return not _is_in(domain, ("kubernetes.io", "k8s.io"))


def _is_in(domain: str, names: tuple[str, ...]) -> bool:
    return any(domain == name or domain.endswith(f".{name}") for name in names)


def _node_may(node: str, request: Request) -> bool:
    """The Node authorizer, as far as a kubelet needs it that runs no pods of the API server's."""
    if not node:
        return False
    if (request.group, request.resource.partition("/")[0]) == ("", "nodes"):
        return request.verb == "create" or (request.verb in ("get", "update", "patch") and request.name == node)
    if (request.group, request.resource) == ("coordination.k8s.io", "leases"):
        return request.namespace == "kube-node-lease" and (request.verb == "create" or request.name == node)
    if (request.group, request.resource, request.verb) == ("", "pods", "list"):
        return request.node == node
    return (request.group, request.resource, request.verb) in (
        ("", "events", "create"),
        ("", "pods/eviction", "create"),
    )


def _rules(user: User, namespace: str, objects: list[Object]) -> Iterator[Object]:
    for binding in objects:
        kind = binding["kind"]
        inside = kind == "RoleBinding" and namespace and binding["metadata"].get("namespace") == namespace
        if (kind == "ClusterRoleBinding" or inside) and any(_is_meant(user, who) for who in binding["subjects"]):
            yield from _rules_of(binding, objects)


def _rules_of(binding: Object, objects: list[Object]) -> Iterator[Object]:
    kind, name = binding["roleRef"]["kind"], binding["roleRef"]["name"]
    if kind == "ClusterRole":
        yield from BUILT_IN.get(name, ())
    for role in objects:
        here = kind == "ClusterRole" or role["metadata"].get("namespace") == binding["metadata"].get("namespace")
        if here and (role["kind"], role["metadata"]["name"]) == (kind, name):
            yield from role.get("rules") or ()


def _is_meant(user: User, subject: Object) -> bool:
    kind, name = subject["kind"], subject["name"]
    return (kind == "User" and name == user.name) or (kind == "Group" and name in user.groups)


def _covers(rule: Object, request: Request) -> bool:
    whole, _, part = request.resource.partition("/")
    resources = {"*", request.resource, *([f"*/{part}", f"{whole}/*"] if part else [])}
    names = rule.get("resourceNames") or ()
    return (
        not {"*", request.group}.isdisjoint(rule.get("apiGroups") or ())
        and not resources.isdisjoint(rule.get("resources") or ())
        and not {"*", request.verb}.isdisjoint(rule.get("verbs") or ())
        and (not names or request.name in names)
    )
