"""Whether a node works: asked of the programs themselves on their own ports, never only through the API server.

kubeadm waited for static pods through an API server that was one of them (kubeadm #3297).
"""

from dataclasses import dataclass

from units.facts import NodeFacts
from units.host import Host
from units.manifest import Manifest
from units.names import url_host
from units.services.kube_proxy import HEALTH_PORT as KUBE_PROXY_PORT

KUBELET_HEALTH = "http://127.0.0.1:10248/healthz"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """`url` answers 200 when the program is well. `essential`: without it a node is no node, whatever was before."""

    name: str
    url: str
    essential: bool = False


def health_checks(manifest: Manifest, facts: NodeFacts) -> tuple[HealthCheck, ...]:
    found = [HealthCheck("kubelet", KUBELET_HEALTH, essential=True)]
    if manifest.kube_proxy.enabled:
        found.append(HealthCheck("kube-proxy", f"http://{url_host(facts.private_ip)}:{KUBE_PROXY_PORT}/livez"))
    if manifest.group.role == "control-plane":
        found += [
            HealthCheck(f"etcd {etcd.name}", f"http://127.0.0.1:{etcd.metrics_port}/readyz") for etcd in manifest.etcd
        ]
        address = url_host(facts.private_ip)
        found += [
            HealthCheck("kube-apiserver", f"https://{address}:{manifest.api.port}/readyz"),
            HealthCheck("kube-controller-manager", "https://127.0.0.1:10257/healthz"),
            HealthCheck("kube-scheduler", "https://127.0.0.1:10259/readyz"),
        ]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Illness:
    name: str
    said: str


def illnesses(checks: tuple[HealthCheck, ...], host: Host) -> tuple[Illness, ...]:
    """Who is not well, and what it answered."""
    found = []
    for check in checks:
        answer = host.probes.get(check.url)
        if answer is None:
            found.append(Illness(check.name, f"nothing answers at {check.url}"))
        elif answer.status != 200:
            found.append(Illness(check.name, f"HTTP {answer.status}: {answer.body.strip()[:200]}"))
    return tuple(found)


def well(checks: tuple[HealthCheck, ...], host: Host) -> frozenset[str]:
    ill = {illness.name for illness in illnesses(checks, host)}
    return frozenset(check.name for check in checks if check.name not in ill)


def required(checks: tuple[HealthCheck, ...], well_before: frozenset[str]) -> tuple[HealthCheck, ...]:
    """A change must not make worse what was well; it is not to blame for what was ill already."""
    return tuple(check for check in checks if check.essential or check.name in well_before)
