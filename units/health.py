"""Whether a node works: asked of the programs themselves on their own ports, never only through the API server.

kubeadm waited for static pods through an API server that was one of them (kubeadm #3297).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Protocol

from units.errors import BootwrightError
from units.facts import NodeFacts
from units.host import Host
from units.manifest import Manifest
from units.names import url_host
from units.node_api import UNREACHABLE
from units.pods import StaticPod
from units.resource import Resource
from units.services.kube_proxy import HEALTH_PORT as KUBE_PROXY_PORT

KUBELET_HEALTH = "http://127.0.0.1:10248/healthz"
LEASE_LIFE = timedelta(seconds=40)  # kubelet's nodeLeaseDurationSeconds; it renews every ten
_SKEW = timedelta(seconds=1)  # the lease has microseconds, a clock read before it may have been rounded


class Sight:
    """One look at a machine: what several checks need is asked once."""

    def __init__(self, host: Host) -> None:
        self.host = host

    @cached_property
    def static_pods(self) -> Mapping[str, frozenset[str]]:
        return self.host.runtime.static_pods()


class Check(Protocol):
    """`essential`: without it a node is no node, whatever was before."""

    @property
    def name(self) -> str: ...

    @property
    def essential(self) -> bool: ...

    def illness(self, sight: Sight) -> str:
        """What is wrong; empty if it is well."""


@dataclass(frozen=True, slots=True)
class PortCheck:
    """`url` answers 200 when the program is well."""

    name: str
    url: str
    essential: bool = False

    def illness(self, sight: Sight) -> str:
        answer = sight.host.probes.get(self.url)
        if answer is None:
            return f"nothing answers at {self.url}"
        return "" if answer.status == 200 else f"HTTP {answer.status}: {answer.body.strip()[:200]}"


@dataclass(frozen=True, slots=True)
class RuntimeCheck:
    name: str = "containerd"
    essential: bool = True

    def illness(self, sight: Sight) -> str:
        return sight.host.runtime.complaint()


@dataclass(frozen=True, slots=True)
class PodCheck:
    """The runtime runs exactly this pod: a port may be answered by the one that kubelet has not replaced yet."""

    name: str
    pod: str
    digest: str
    essential: bool = False

    def illness(self, sight: Sight) -> str:
        try:
            found = sight.static_pods.get(self.pod, frozenset())
        except BootwrightError as error:
            return str(error)
        if found == {self.digest}:
            return ""
        if not found:
            return "containerd runs no such pod"
        return f"containerd still runs {', '.join(sorted(one[:12] for one in found))}, not {self.digest[:12]}"


@dataclass(frozen=True, slots=True)
class LeaseCheck:
    """kubelet renews its lease in the API server. `since`: a renewal before that proves nothing.

    An API server that does not answer is no fault of this machine, and no illness of it; unless the change made kubelet
    ask at another address (`silence_is_illness`).
    """

    node: str
    since: datetime | None = None
    silence_is_illness: bool = False
    name: str = "node lease"
    essential: bool = False

    def illness(self, sight: Sight) -> str:
        try:
            renewed = sight.host.node_api.lease_renewed(self.node)
        except BootwrightError as error:
            return str(error) if self.silence_is_illness or error.code != UNREACHABLE else ""
        if renewed is None:
            return f"{self.node} has no lease"
        age = sight.host.clock.now() - renewed
        if age > LEASE_LIFE:
            return f"kubelet renewed it last {age.total_seconds():.0f} s ago"
        if self.since is not None and renewed < self.since - _SKEW:
            return "kubelet has not renewed it since the change"
        return ""


def health_checks(manifest: Manifest, facts: NodeFacts) -> tuple[Check, ...]:
    found: list[Check] = [PortCheck("kubelet", KUBELET_HEALTH, essential=True), RuntimeCheck()]
    if manifest.kube_proxy.enabled:
        found.append(PortCheck("kube-proxy", f"http://{url_host(facts.private_ip)}:{KUBE_PROXY_PORT}/livez"))
    if manifest.group.role == "control-plane":
        found += [
            PortCheck(f"etcd {etcd.name}", f"http://127.0.0.1:{etcd.metrics_port}/readyz") for etcd in manifest.etcd
        ]
        address = url_host(facts.private_ip)
        found += [
            PortCheck("kube-apiserver", f"https://{address}:{manifest.api.port}/readyz"),
            PortCheck("kube-controller-manager", "https://127.0.0.1:10257/healthz"),
            PortCheck("kube-scheduler", "https://127.0.0.1:10259/readyz"),
        ]
    return tuple(found)


def pod_checks(the_plan: Iterable[Resource]) -> tuple[Check, ...]:
    pods = (one for one in the_plan if isinstance(one, StaticPod))
    return tuple(PodCheck(f"static pod {pod.name}", pod.name, pod.digest) for pod in pods)


@dataclass(frozen=True, slots=True)
class Illness:
    name: str
    said: str


def illnesses(checks: tuple[Check, ...], host: Host) -> tuple[Illness, ...]:
    """Who is not well, and what it answered."""
    sight = Sight(host)
    said = ((check.name, check.illness(sight)) for check in checks)
    return tuple(Illness(name, text) for name, text in said if text)


def well(checks: tuple[Check, ...], host: Host) -> frozenset[str]:
    ill = {illness.name for illness in illnesses(checks, host)}
    return frozenset(check.name for check in checks if check.name not in ill)


def required(checks: tuple[Check, ...], well_before: frozenset[str]) -> tuple[Check, ...]:
    """A change must not make worse what was well; it is not to blame for what was ill already."""
    return tuple(check for check in checks if check.essential or check.name in well_before)
