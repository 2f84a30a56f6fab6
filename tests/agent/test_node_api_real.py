"""A node drains itself with kubelet's own rights: asked of a real kube-apiserver, for the design relies on it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.cluster import Cluster, connected
from agent.kubelet_api import KubeletApi
from agent.linux.probes import LoopbackProbes
from pki.request import CertificateRequest
from tests.agent.kubelet_access import kubelet_kubeconfig
from tests.agent.real_api_server import missing, running
from tests.agent.test_labels_real import RealNodeStandIn, send
from tests.units.machines import authorities
from units.drain import must_go
from units.errors import Retryable
from units.node_api import NodePod

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.skipif(bool(missing()), reason=missing())]
OWN, OTHER = "ip-10-99-1-4.eu-west-1.compute.internal", "ip-10-99-1-5.eu-west-1.compute.internal"
PODS = "/api/v1/namespaces/default/pods"


@dataclass
class Scene:
    own: KubeletApi
    other: KubeletApi
    admin: Callable[..., Any]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("real")
    authority = authorities()["kubernetes"]
    with running(folder, authority, LoopbackProbes()) as server:
        url = f"https://127.0.0.1:{server.port}"
        node = RealNodeStandIn(server.port)

        def as_(request: CertificateRequest, method: str, path: str, body: Any = None, **kind: str) -> Any:
            host = node.host(node.manifest)
            with connected(node.manifest, host, "127.0.0.1", request, authority=str(server.authority)) as cluster:
                return told(cluster, method, path, body, **kind)

        def told(cluster: Cluster, method: str, path: str, body: Any, **kind: str) -> Any:
            answer = send(cluster, method, path, body, **kind)
            assert answer.status_code in (200, 201), answer.text
            return answer.json()

        for name in (OWN, OTHER):
            kubelet = CertificateRequest(profile="kubelet-client", name=name)
            as_(kubelet, "POST", "/api/v1/nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})

        def admin(*arguments: Any, **kind: str) -> Any:
            return as_(CertificateRequest(profile="super-admin"), *arguments, **kind)

        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        admin("POST", "/api/v1/namespaces/default/serviceaccounts", account)
        own, other = (KubeletApi(kubelet_kubeconfig(folder, authority, url, name)) for name in (OWN, OTHER))
        yield Scene(own, other, admin)


def make_pod(scene: Scene, name: str, node: str, **metadata: Any) -> None:
    """Bound and running."""
    spec = {"nodeName": node, "automountServiceAccountToken": False, "containers": [{"name": "a", "image": "a:1"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}
    scene.admin("POST", PODS, pod)
    patch = {"status": {"phase": "Running"}}
    scene.admin("PATCH", f"{PODS}/{name}/status", patch, kind="application/merge-patch+json")


def test_a_kubelet_cordons_and_uncordons_its_own_node_and_no_other(scene: Scene) -> None:
    assert scene.own.schedulable(OWN) is True
    scene.own.set_schedulable(OWN, schedulable=False)
    assert scene.own.schedulable(OWN) is False
    scene.own.set_schedulable(OWN, schedulable=True)
    assert scene.own.schedulable(OWN) is True
    with pytest.raises(Retryable) as refused:
        scene.own.set_schedulable(OTHER, schedulable=False)
    assert refused.value.code == "cluster-access-denied"


def test_a_kubelet_lists_its_pods_and_evicts_them_and_no_others(scene: Scene) -> None:
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "cni", "uid": "0", "controller": True}
    make_pod(scene, "app", OWN)
    make_pod(scene, "cni", OWN, ownerReferences=[owner])
    make_pod(scene, "elsewhere", OTHER)
    pods = {pod.name: pod for pod in scene.own.pods(OWN)}
    assert (pods.keys(), pods["cni"].owner) == ({"app", "cni"}, "DaemonSet")
    assert [name for name, pod in pods.items() if must_go(pod)] == ["app"]
    assert scene.own.evict(pods["app"]) == ""
    assert next(pod for pod in scene.own.pods(OWN) if pod.name == "app").going, "kubelet ends it in its own time"
    with pytest.raises(Retryable) as refused:
        scene.own.evict(NodePod("default", "elsewhere"))
    assert refused.value.code == "cluster-access-denied"
    assert scene.own.evict(NodePod("default", "gone-already")) in ("", 'pods "gone-already" not found')


def test_a_disruption_budget_keeps_a_pod_and_says_so(scene: Scene) -> None:
    make_pod(scene, "kept", OWN, labels={"app": "kept"})
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "kept"}}}
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "kept"}, "spec": spec}
    scene.admin("POST", "/apis/policy/v1/namespaces/default/poddisruptionbudgets", budget)
    said = scene.own.evict(NodePod("default", "kept"))
    assert "disruption budget" in said
    assert not next(pod for pod in scene.own.pods(OWN) if pod.name == "kept").going


def test_a_kubelet_reads_its_own_lease(scene: Scene) -> None:
    assert scene.own.lease_renewed(OWN) is None
    renewed = datetime.now(UTC) - timedelta(seconds=5)
    spec = {"holderIdentity": OWN, "leaseDurationSeconds": 40, "renewTime": f"{renewed:%Y-%m-%dT%H:%M:%S.%fZ}"}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": OWN}, "spec": spec}
    scene.admin("POST", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", lease)
    assert scene.own.lease_renewed(OWN) == renewed
    with pytest.raises(Retryable) as refused:
        scene.other.lease_renewed(OWN)
    assert refused.value.code == "cluster-access-denied"
