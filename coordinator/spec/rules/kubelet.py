"""instanceGroups[].kubelet: fields that exist in this release and that are the operator's to set."""

import json
from collections.abc import Iterator

from coordinator.spec.kubelet_fields import OWNED
from coordinator.spec.problems import Path, shown
from coordinator.spec.rules.finding import Draft, Finding, Rule
from coordinator.spec.suggestions import nearest
from coordinator.spec.words import LAST_MINOR
from units.kubelet_fields import Kind, first_minor, fits, kind_of, kubelet_fields, seconds

# What bootwright sets when the spec does not (units/services/kubelet.py): an override is read together with these.
DEFAULT_SHUTDOWN = "30s"
DEFAULT_SHUTDOWN_CRITICAL = "10s"
DEFAULT_PARALLEL_PULLS = 5


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


def kinds(draft: Draft) -> Iterator[Finding]:
    for index, group in enumerate(draft.spec.instance_groups):
        for field in group.kubelet.keys() & (kubelet_fields(LAST_MINOR) - OWNED.keys()):
            value = group.kubelet[field]
            if value is not None and not fits(kind_of(field), value):
                found = json.dumps(value)
                quoted = isinstance(value, str) and kind_of(field) in {Kind.BOOLEAN, Kind.WHOLE_NUMBER, Kind.NUMBER}
                remedy = "remove the quotes" if quoted else "kubelet would not start"
                path: Path = ("instanceGroups", index, "kubelet", field)
                yield Finding(path, found if len(found) <= 60 else f"{found[:57]}...", str(kind_of(field)), remedy)


def shutdown(draft: Draft) -> Iterator[Finding]:
    for index, group in enumerate(draft.spec.instance_groups):
        total = seconds(group.kubelet.get("shutdownGracePeriod", DEFAULT_SHUTDOWN))
        critical = seconds(group.kubelet.get("shutdownGracePeriodCriticalPods", DEFAULT_SHUTDOWN_CRITICAL))
        path: Path = ("instanceGroups", index, "kubelet")
        if total is not None and critical is not None and critical > total:
            found = f"shutdownGracePeriodCriticalPods {critical:g}s of shutdownGracePeriod {total:g}s"
            allowed = "shutdownGracePeriodCriticalPods up to shutdownGracePeriod"
            yield Finding(path, found, allowed, "kubelet would not start")
        if group.kubelet.get("shutdownGracePeriodByPodPriority") and (total or critical):
            remedy = 'set shutdownGracePeriod and shutdownGracePeriodCriticalPods to "0s", or kubelet does not start'
            both = "a value beside shutdownGracePeriod"
            yield Finding((*path, "shutdownGracePeriodByPodPriority"), both, "one of the two", remedy)


def parallel_pulls(draft: Draft) -> Iterator[Finding]:
    for index, group in enumerate(draft.spec.instance_groups):
        parallel = group.kubelet.get("maxParallelImagePulls", DEFAULT_PARALLEL_PULLS)
        if group.kubelet.get("serializeImagePulls") is True and parallel is not None and parallel != 1:
            path: Path = ("instanceGroups", index, "kubelet", "serializeImagePulls")
            found = f"true beside maxParallelImagePulls {parallel}"
            yield Finding(path, found, "maxParallelImagePulls: 1 with it", "kubelet would not start")


def image_cleaning(draft: Draft) -> Iterator[Finding]:
    for index, group in enumerate(draft.spec.instance_groups):
        low = group.kubelet.get("imageGCLowThresholdPercent", 80)
        high = group.kubelet.get("imageGCHighThresholdPercent", 85)
        if isinstance(low, int) and isinstance(high, int) and low >= high:
            path: Path = ("instanceGroups", index, "kubelet")
            found = f"imageGCLowThresholdPercent {low}, imageGCHighThresholdPercent {high}"
            yield Finding(path, found, "low less than high", "kubelet would not start")


RULES = (
    Rule(("kubernetesVersion",), known_fields),
    Rule((), kinds),
    Rule((), shutdown),
    Rule((), parallel_pulls),
    Rule((), image_cleaning),
)
