"""The same against a real kube-apiserver: what it refuses is what the design relies on."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent import cluster_service
from agent.cluster import Cluster, agent_identity, connected
from agent.linux.probes import LoopbackProbes
from pki.request import CertificateRequest
from tests.agent.real_api_server import missing, running
from tests.agent.test_labels import OWN, ROLE, NodeStandIn
from tests.units.machines import authorities
from units.errors import Retryable
from units.host import Host
from units.manifest import Manifest
from units.node_labels import label_patch, node_path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.skipif(bool(missing()), reason=missing())]
WORKER = "ip-10-99-1-9.eu-west-1.compute.internal"


class RealNodeStandIn(NodeStandIn):
    """Readiness is asked of the real server, the rest of the machine is in memory."""

    def host(self, _manifest: Manifest) -> Host:
        return dataclasses.replace(self.memory.host, probes=LoopbackProbes())


@dataclass
class Scene:
    node: RealNodeStandIn
    authority: str
    issued: Path

    def as_(self, request: CertificateRequest) -> Any:
        host = self.node.host(self.node.manifest)
        return connected(self.node.manifest, host, "127.0.0.1", request, authority=self.authority)

    def kubelet(self, name: str) -> Any:
        return self.as_(CertificateRequest(profile="kubelet-client", name=name))

    def agent(self) -> Any:
        return self.as_(agent_identity("i-0123456789abcdef0"))

    def register(self, name: str, **labels: str) -> None:
        """As kubelet does: with its own certificate."""
        with self.kubelet(name) as cluster:
            body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
            assert send(cluster, "POST", "/api/v1/nodes", body).status_code == 201

    def labels(self, name: str) -> dict[str, str]:
        with self.agent() as cluster:
            return dict(cluster.metadata(node_path(name)).get("labels", {}))

    def mark(self, name: str, group: str) -> None:
        self.issued.mkdir(exist_ok=True)
        (self.issued / name).write_text(group)


def send(cluster: Cluster, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
    headers = {"Content-Type": kind, "Accept": "application/json"}
    return cluster._ask(method, path, headers=headers, data=json.dumps(body) if body is not None else None)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("real")
    with running(folder, authorities()["kubernetes"], LoopbackProbes()) as server:
        scene = Scene(RealNodeStandIn(server.port), str(server.authority), folder / "issued")
        assert not cluster_service.found_cluster(scene.node, scene.issued, authority=scene.authority), "no Node yet"
        scene.register(OWN)
        assert cluster_service.found_cluster(scene.node, scene.issued, authority=scene.authority)
        scene.register(WORKER, **{"bootwright.io/group": "gpu", "example.com/own": "1"})
        yield scene


def label(scene: Scene, *, own: bool = False) -> int:
    return cluster_service.label_nodes(scene.node, scene.issued, own=own, authority=scene.authority)


def test_the_control_plane_node_has_its_labels(scene: Scene) -> None:
    assert {f"{ROLE}/control-plane": "", "example.k8s.io/tier": "1"}.items() <= scene.labels(OWN).items()


def test_a_worker_gets_the_labels_of_the_issuers_group_and_loses_those_that_left(scene: Scene) -> None:
    before = scene.labels(WORKER)
    scene.mark(WORKER, "gpu")
    assert label(scene) == 1
    assert scene.labels(WORKER) == {**before, f"{ROLE}/node": "", "example.k8s.io/gpu": "a100"}
    scene.mark(WORKER, "workers")
    assert label(scene) == 1
    assert scene.labels(WORKER) == {**before, f"{ROLE}/node": "", f"{ROLE}/worker": ""}
    assert list(scene.issued.iterdir()) == []


def test_labels_that_are_right_already_change_nothing(scene: Scene) -> None:
    def version() -> str:
        with scene.agent() as cluster:
            return str(cluster.metadata(node_path(OWN))["resourceVersion"])

    before = version()
    assert label(scene, own=True) == 1
    assert version() == before


def test_a_node_that_is_not_there_is_neither_made_nor_forgotten(scene: Scene) -> None:
    scene.mark("never-seen", "workers")
    assert label(scene) == 0
    assert (scene.issued / "never-seen").exists()
    (scene.issued / "never-seen").unlink()


@pytest.mark.parametrize("kind", ["application/apply-patch+yaml", "application/merge-patch+json"])
@pytest.mark.parametrize("key", [f"{ROLE}/control-plane", "example.k8s.io/gpu", "kubernetes.io/made-up"])
def test_the_kubelet_cannot_set_them_itself(scene: Scene, key: str, kind: str) -> None:
    with scene.kubelet(WORKER) as cluster:
        uid = cluster.metadata(node_path(WORKER))["uid"]
        body = label_patch(WORKER, uid, {key: "yes"})
        answer = send(cluster, "PATCH", f"{node_path(WORKER)}?fieldManager=kubelet", body, kind)
        assert answer.status_code == 403, answer.text
        assert "is not allowed to modify labels" in answer.text
        # And with the same request, what a kubelet may set: it is the label that is refused.
        mine = label_patch(WORKER, uid, {"example.com/mine": "1"})
        assert send(cluster, "PATCH", f"{node_path(WORKER)}?fieldManager=kubelet", mine, kind).status_code == 200


def test_the_kubelet_cannot_take_them_away(scene: Scene) -> None:
    with scene.kubelet(OWN) as cluster:
        body = {"metadata": {"labels": {f"{ROLE}/control-plane": None}}}
        answer = send(cluster, "PATCH", node_path(OWN), body, "application/merge-patch+json")
    assert answer.status_code == 403, answer.text
    assert f"{ROLE}/control-plane" in scene.labels(OWN)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/secrets"),
        ("GET", "/api/v1/namespaces/kube-system/secrets/x"),
        ("GET", "/api/v1/namespaces/kube-system/configmaps"),
        ("GET", "/api/v1/pods"),
        ("GET", f"/api/v1/nodes/{WORKER}/proxy/pods"),
        ("POST", "/api/v1/nodes"),
        ("DELETE", f"/api/v1/nodes/{WORKER}"),
        ("PUT", f"/api/v1/nodes/{WORKER}"),
        ("PATCH", f"/api/v1/nodes/{WORKER}/status"),
        ("POST", "/api/v1/namespaces/kube-system/pods"),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
        ("PATCH", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/cluster-admin"),
        ("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests"),
    ],
)
def test_an_agents_certificate_can_do_nothing_else(scene: Scene, method: str, path: str) -> None:
    with scene.agent() as cluster:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = send(cluster, method, path, None if method == "GET" else {"metadata": {"name": WORKER}}, kind)
    assert answer.status_code == 403, answer.text


def test_an_agent_may_list_nodes(scene: Scene) -> None:
    with scene.agent() as cluster:
        assert send(cluster, "GET", "/api/v1/nodes?limit=1").status_code == 200


def test_an_apply_for_a_node_that_was_replaced_is_refused(scene: Scene) -> None:
    with scene.agent() as cluster, pytest.raises(Retryable, match="immutable"):
        cluster.apply(
            node_path(WORKER), label_patch(WORKER, "11111111-2222-3333-4444-555555555555", {"x.k8s.io/y": ""})
        )


def test_an_apply_cannot_make_a_node_that_was_never_there(scene: Scene) -> None:
    with scene.agent() as cluster, pytest.raises(Retryable, match=r"HTTP (403|404|409)"):
        cluster.apply(
            node_path("ghost"), label_patch("ghost", "11111111-2222-3333-4444-555555555555", {"a.k8s.io/b": ""})
        )
    with scene.agent() as cluster:
        assert cluster.metadata(node_path("ghost")) is None
