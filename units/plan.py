"""plan(manifest, facts) -> Plan: every service of the role in order. The order of the tuple is the order of work."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pki.errors import PkiError
from units.errors import Invalid, Problem
from units.facts import NodeFacts
from units.manifest import Manifest, Role
from units.resource import Resource
from units.services.apiserver import apiserver
from units.services.base import base
from units.services.containerd import containerd
from units.services.controller_manager import controller_manager
from units.services.etcd import etcd
from units.services.issuer import issuer
from units.services.kube_proxy import kube_proxy
from units.services.kubelet import kubelet
from units.services.node_identity import node_identity
from units.services.scheduler import scheduler
from units.soundness import problems_in

Service = Callable[[Manifest, NodeFacts], Iterator[Resource]]

# etcd before everything that needs it: no static pod exists before etcd is established. kubelet last: whatever it
# starts finds its files, its certificates and its image in place.
SERVICES: dict[Role, tuple[Service, ...]] = {
    "control-plane": (
        base,
        etcd,
        containerd,
        apiserver,
        controller_manager,
        scheduler,
        issuer,
        kube_proxy,
        kubelet,
    ),
    "node": (base, containerd, node_identity, kube_proxy, kubelet),
}


@dataclass(frozen=True, slots=True)
class Plan:
    resources: tuple[Resource, ...]

    def __iter__(self) -> Iterator[Resource]:
        return iter(self.resources)


def plan(manifest: Manifest, facts: NodeFacts) -> Plan:
    """Invalid (`plan-impossible`) with every reason: something is missing, or the manifest sets what is bootwright's,
    or two resources claim one thing (an extra file where an asset goes, say). Invalid (`etcd-member-ambiguous`) if
    this group has not exactly one member in this zone.
    """
    if problems := problems_in(manifest):
        raise _impossible(manifest, problems)
    try:
        resources = tuple(
            resource for service in SERVICES[manifest.group.role] for resource in service(manifest, facts)
        )
    except PkiError as error:  # a name or an address that no certificate may carry
        raise _impossible(manifest, (Problem("", str(error)),)) from error
    claims = Counter(_claim(resource.key) for resource in resources)
    if doubles := [claim for claim, count in claims.items() if count > 1]:
        raise _impossible(
            manifest, tuple(Problem(claim, "claimed twice: two things want to be here") for claim in doubles)
        )
    return Plan(resources)


def _impossible(manifest: Manifest, problems: tuple[Problem, ...]) -> Invalid:
    return Invalid(
        "plan-impossible",
        f"group {manifest.group.name!r} cannot be planned",
        remedy="correct cluster.yaml and publish again",
        problems=problems,
    )


def _claim(key: str) -> str:
    """Whatever lies at a path claims it, whatever its kind is called; other kinds claim their key."""
    name = key.partition(":")[2]
    return name if name.startswith("/") else key
