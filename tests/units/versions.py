"""Every Kubernetes minor that is supported, with the containerd and etcd that belong to it, planned for both roles."""

from functools import cache
from typing import Any

import yaml

from tests.units.machines import facts, manifest
from units.facts import NodeFacts
from units.manifest import Manifest
from units.plan import Plan, plan
from units.pods import StaticPod
from units.resource import Resource
from units.services.etcd import arguments as etcd_arguments
from units.services.etcd import member_of

MINORS = (31, 32, 33, 34, 35, 36)
ROLES = ("control-plane", "node")
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def manifest_of(minor: int, role: str = "control-plane") -> Manifest:
    return manifest(role, kubernetes_version=f"1.{minor}.2")


def facts_of(minor: int) -> NodeFacts:
    """etcd-pki.md 2.1 and 5.1: etcd 3.6 from 1.34, containerd 2 needed from 1.36."""
    return facts(
        etcd_version=(3, 6) if minor >= 34 else (3, 5),
        containerd_version=(2, 3) if minor >= 36 else (1, 7),
    )


@cache
def plan_of(minor: int, role: str = "control-plane") -> Plan:
    return plan(manifest_of(minor, role), facts_of(minor))


def find(minor: int, key: str, role: str = "control-plane") -> Resource:
    return next(resource for resource in plan_of(minor, role) if resource.key == key)


def pod(minor: int, component: str) -> StaticPod:
    found = find(minor, f"static-pod:{component}")
    assert isinstance(found, StaticPod)
    return found


def read_back(a_pod: StaticPod) -> dict[str, Any]:
    """The pod as kubelet reads it: from the text of the file."""
    return yaml.safe_load("\n".join(a_pod.describe().lines[1:]))


def kubelet_config(minor: int, role: str = "control-plane") -> dict[str, Any]:
    return yaml.safe_load(
        "\n".join(find(minor, "kubelet-config:/var/lib/kubelet/config.yaml", role).describe().lines[1:])
    )


def command_line(minor: int, component: str) -> dict[str, str]:
    """Flag -> value, without dashes: of a static pod, of kubelet, or of etcd."""
    if component == "etcd":
        a_manifest, its_facts = manifest_of(minor), facts_of(minor)
        member = member_of(a_manifest, its_facts, a_manifest.etcd[0])
        return etcd_arguments(a_manifest, its_facts, a_manifest.etcd[0], member, "token")
    if component == "kubelet":
        lines = find(minor, "unit:kubelet.service").describe().lines
        words = [line.strip().removesuffix("\\").strip() for line in lines if line.strip().startswith("--")]
    else:
        (container,) = read_back(pod(minor, component))["spec"]["containers"]
        assert container["command"][0] == component
        words = container["command"][1:]
    return dict(word.removeprefix("--").split("=", 1) for word in words)
