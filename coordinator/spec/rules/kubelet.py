"""instanceGroups[].kubelet: fields that exist in this release and that are the operator's to set."""

import re
from collections.abc import Iterator

from coordinator.spec.kubelet_fields import OWNED, first_minor, kubelet_fields
from coordinator.spec.problems import Path, shown
from coordinator.spec.rules.finding import Draft, Finding, Rule
from coordinator.spec.suggestions import nearest

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def known_fields(draft: Draft) -> Iterator[Finding]:
    minor = draft.spec.kubernetes_minor
    known = kubelet_fields(minor)
    free = f"a field of KubeletConfiguration v1beta1 in Kubernetes 1.{minor}"
    for index, group in enumerate(draft.spec.instance_groups):
        for field in group.kubelet:
            path: Path = ("instanceGroups", index, "kubelet", field)
            if field in OWNED:
                yield Finding(path, shown(field), "fields that bootwright leaves to you", f"set by {OWNED[field]}")
            elif (since := first_minor(field)) is not None and since > minor:
                yield Finding(path, shown(field), free, f"{field} came with Kubernetes 1.{since}")
            elif field not in known:
                near = nearest(field, known - OWNED.keys())
                remedy = f"did you mean {near}?" if near else "kubelet would ignore it without a word"
                yield Finding(path, shown(field), free, remedy)


def shutdown_order(draft: Draft) -> Iterator[Finding]:
    """The kubelet does not start when critical pods would get longer than all pods together (measured on 1.36.2)."""
    for index, group in enumerate(draft.spec.instance_groups):
        total = _seconds(group.kubelet.get("shutdownGracePeriod", "30s"))
        critical = _seconds(group.kubelet.get("shutdownGracePeriodCriticalPods", "10s"))
        if total is not None and critical is not None and critical > total:
            path: Path = ("instanceGroups", index, "kubelet")
            found = f"shutdownGracePeriodCriticalPods {critical:g}s of shutdownGracePeriod {total:g}s"
            yield Finding(
                path, found, "shutdownGracePeriodCriticalPods up to shutdownGracePeriod", "kubelet would not start"
            )


def parallel_pulls(draft: Draft) -> Iterator[Finding]:
    for index, group in enumerate(draft.spec.instance_groups):
        if group.kubelet.get("serializeImagePulls") is True and "maxParallelImagePulls" in group.kubelet:
            path: Path = ("instanceGroups", index, "kubelet", "maxParallelImagePulls")
            yield Finding(path, "a value beside serializeImagePulls: true", "one of the two", "kubelet refuses both")


def _seconds(duration: object) -> float | None:
    """Go's `1m30s` in seconds; None when it is not one."""
    if not isinstance(duration, str):
        return None
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|h|m|s)", duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


RULES = (
    Rule(("kubernetesVersion",), known_fields),
    Rule((), shutdown_order),
    Rule((), parallel_pulls),
)
