"""Labels, taints and tags that somebody else owns."""

from collections.abc import Iterator

from coordinator.spec.problems import shown
from coordinator.spec.rules.finding import Draft, Finding, Rule
from coordinator.spec.rules.placement import repeated

_OWNED_LABELS = {
    "kubernetes.io/hostname": "kubelet sets it",
    "kubernetes.io/os": "kubelet sets it",
    "kubernetes.io/arch": "kubelet sets it",
    "node.kubernetes.io/instance-type": "the cloud controller sets it",
    "topology.kubernetes.io/region": "the cloud controller sets it",
    "topology.kubernetes.io/zone": "the cloud controller sets it",
}
_OWNED_TAGS = ("aws:", "kubernetes.io/cluster/", "k8s.io/etcd/", "k8s.io/role/", "bootwright.io/")


def labels(draft: Draft) -> Iterator[Finding]:
    for index, group in enumerate(draft.spec.instance_groups):
        for key in group.labels:
            path = ("instanceGroups", index, "labels", key)
            prefix, _, name = key.rpartition("/")
            if prefix == "node-role.kubernetes.io":
                remedy = f"the role sets node-role.kubernetes.io/{group.role}; a kubelet may not set one itself"
                yield Finding(path, shown(key), "labels outside node-role.kubernetes.io", remedy)
            elif prefix == "bootwright.io":
                yield Finding(path, shown(key), "labels outside bootwright.io", "bootwright sets these")
            elif key in _OWNED_LABELS:
                yield Finding(path, shown(key), "labels nobody else sets", _OWNED_LABELS[key])
            elif len(prefix) > 253 or len(name) > 63:
                yield Finding(path, shown(key), "at most 253 characters before the / and 63 after it")


def taints(draft: Draft) -> Iterator[Finding]:
    for index, group in enumerate(draft.spec.instance_groups):
        base = ("instanceGroups", index, "taints")
        for position, taint in enumerate(group.taints):
            prefix = taint.key.rpartition("/")[0]
            if prefix in {"node-role.kubernetes.io", "node.kubernetes.io", "node.cloudprovider.kubernetes.io"}:
                remedy = (
                    "control-plane nodes get theirs from the role, the others come and go with the node's condition"
                )
                yield Finding((*base, position, "key"), shown(taint.key), f"taints outside {prefix}", remedy)
        pairs = (((*base, position), f"{taint.key}:{taint.effect}") for position, taint in enumerate(group.taints))
        yield from repeated(pairs, "each pair of key and effect once")


def cloud_labels(draft: Draft) -> Iterator[Finding]:
    for key in draft.spec.cloud_labels:
        owned = next((start for start in _OWNED_TAGS if key.lower().startswith(start)), None)
        if owned is not None or key in {"KubernetesCluster", "Name"}:
            remedy = "EC2 keeps aws: for itself" if owned == "aws:" else "bootwright finds its own things by these tags"
            yield Finding(("cloudLabels", key), shown(key), "tags that neither AWS nor bootwright sets", remedy)


RULES = (
    Rule((), labels),
    Rule((), taints),
    Rule((), cloud_labels),
)
