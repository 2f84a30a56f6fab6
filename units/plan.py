"""plan(manifest, facts) -> Plan: every service of the role in order. The order of the tuple is the order of work."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from units.errors import Invalid, Problem
from units.facts import NodeFacts
from units.manifest import Manifest, Role
from units.resource import Resource
from units.services.apiserver import apiserver
from units.services.base import base
from units.services.containerd import containerd
from units.services.controller_manager import controller_manager
from units.services.etcd import etcd
from units.services.kubelet import kubelet
from units.services.scheduler import scheduler

Service = Callable[[Manifest, NodeFacts], Iterator[Resource]]

# kubelet before the static pods: it starts while etcd is being awaited would race nothing, but images must be loaded
# before it looks, and the API server must not start before etcd is established.
SERVICES: dict[Role, tuple[Service, ...]] = {
    "control-plane": (base, etcd, containerd, apiserver, controller_manager, scheduler, kubelet),
    "node": (base, containerd, kubelet),
}


@dataclass(frozen=True, slots=True)
class Plan:
    resources: tuple[Resource, ...]

    def __iter__(self) -> Iterator[Resource]:
        return iter(self.resources)


def plan(manifest: Manifest, facts: NodeFacts) -> Plan:
    """Invalid (`plan-impossible`) if two resources claim one thing: an extra file over a file of ours, say."""
    resources = tuple(resource for service in SERVICES[manifest.group.role] for resource in service(manifest, facts))
    claims = Counter(_claim(resource.key) for resource in resources)
    doubles = [claim for claim, count in claims.items() if count > 1]
    if doubles:
        raise Invalid(
            "plan-impossible",
            f"group {manifest.group.name!r} cannot be planned",
            problems=tuple(
                Problem(claim, "claimed twice; the spec may not replace a file of ours") for claim in doubles
            ),
        )
    return Plan(resources)


def _claim(key: str) -> str:
    """Every kind of file claims its path, whatever the kind is called; other kinds claim their key."""
    kind, _, name = key.partition(":")
    return name if name.startswith("/") and kind not in ("mount", "volume") else key
