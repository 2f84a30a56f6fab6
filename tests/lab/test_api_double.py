"""The double of kube-apiserver: it lets in, refuses and stores as the real one does, where others build on it."""

import argparse
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from pki.authority import Authority
from pki.certificate import combine
from pki.keys import load_public_key, make_key, public_key_pem
from pki.request import CertificateRequest
from tests.lab.kubernetes.doubles.api import APPLY, MERGES
from tests.lab.kubernetes.doubles.apiserver import ApiServer
from tests.lab.kubernetes.doubles.etcd import Kept
from units.cluster_objects import cluster_objects, object_path

ALICE, BOB = "ip-10-99-1-4.eu-west-1.compute.internal", "ip-10-99-1-5.eu-west-1.compute.internal"
NODES = "/api/v1/nodes"
LABEL = "node-role.kubernetes.io/worker"


@dataclass
class StoreDouble:
    """A store of one process, in place of etcd."""

    kept: dict[str, Kept] = field(default_factory=dict)
    revision: int = 1
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: str) -> Kept | None:
        return self.kept.get(key)

    def below(self, prefix: str) -> list[Kept]:
        return [kept for key, kept in sorted(self.kept.items()) if key.startswith(prefix)]

    def put(self, key: str, value: dict[str, Any], *, revision: int) -> int:
        with self.lock:
            if (self.kept[key].revision if key in self.kept else 0) != revision:
                return 0
            self.revision += 1
            self.kept[key] = Kept(json.loads(json.dumps(value)), self.revision)
            return self.revision

    def delete(self, key: str) -> None:
        self.kept.pop(key, None)


@dataclass(frozen=True)
class Served:
    folder: Path
    authority: Authority
    port: int

    def credential(self, request: CertificateRequest, name: str) -> Path:
        key = make_key()
        path = self.folder / f"{name}.pem"
        pem = self.authority.issue(request, load_public_key(public_key_pem(key)), datetime.now(UTC))
        path.write_bytes(combine(pem, key))
        return path

    def ask(
        self, who: CertificateRequest | None, method: str, path: str, body: Any = None, kind: str = ""
    ) -> tuple[int, Any]:
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(self.folder / "ca.crt")
            if who:
                session.cert = str(self.credential(who, "client"))
            answer = session.request(
                method,
                f"https://127.0.0.1:{self.port}{path}",
                data=None if body is None else json.dumps(body),
                headers={"Content-Type": kind or "application/json"},
                timeout=10,
            )
        return answer.status_code, answer.json() if answer.headers[
            "Content-Type"
        ] == "application/json" else answer.text

    def join(self, name: str, **labels: str) -> tuple[int, Any]:
        return self.ask(kubelet(name), "POST", NODES, node(name, **labels))

    def label(self, who: CertificateRequest, name: str, labels: dict[str, str]) -> tuple[int, Any]:
        body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
        return self.ask(who, "PATCH", f"{NODES}/{name}?fieldManager=bootwright&force=true", body, APPLY)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    authority = Authority.create("kubernetes", datetime.now(UTC))
    (tmp_path / "ca.crt").write_bytes(authority.certificate.pem)
    names = CertificateRequest(profile="apiserver", name=ALICE, ip_addresses=("127.0.0.1", "10.99.1.4"))
    pair = str(Served(tmp_path, authority, 0).credential(names, "server"))
    flags = argparse.Namespace(
        client_ca_file=str(tmp_path / "ca.crt"), tls_cert_file=pair, tls_private_key_file=pair, secure_port=0
    )
    server = ApiServer(flags, StoreDouble())  # type: ignore[arg-type]  # a store, not etcd
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield Served(tmp_path, authority, server.server_address[1])
    server.shutdown()
    server.server_close()


def kubelet(name: str) -> CertificateRequest:
    return CertificateRequest(profile="kubelet-client", name=name)


def node(name: str, **labels: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}


MASTER = CertificateRequest(profile="super-admin")
ADMIN = CertificateRequest(profile="admin")
AGENT = CertificateRequest(profile="agent", name=ALICE)


def test_health_is_told_to_everybody_and_nothing_else_is(served: Served) -> None:
    assert [served.ask(None, "GET", path)[0] for path in ("/readyz", "/livez", "/healthz")] == [200, 200, 200]
    code, said = served.ask(None, "GET", NODES)
    assert (code, said["reason"]) == (401, "Unauthorized")


def test_a_kubelet_registers_itself_once_and_nobody_else(served: Served) -> None:
    assert served.join(ALICE)[0] == 201
    code, said = served.join(ALICE)
    assert (code, said["reason"]) == (409, "AlreadyExists")
    code, said = served.ask(kubelet(ALICE), "POST", NODES, node(BOB))
    assert (code, said["reason"]) == (403, "Forbidden")
    assert BOB in said["message"]


def test_a_kubelet_reads_and_changes_no_other_node(served: Served) -> None:
    served.join(ALICE)
    served.join(BOB)
    status = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    assert served.ask(kubelet(ALICE), "GET", f"{NODES}/{BOB}")[0] == 403
    assert served.ask(kubelet(ALICE), "PATCH", f"{NODES}/{BOB}/status", status, MERGES[0])[0] == 403
    assert served.ask(kubelet(BOB), "PATCH", f"{NODES}/{BOB}/status", status, MERGES[0])[0] == 200
    assert served.ask(kubelet(ALICE), "GET", NODES)[0] == 403


def test_a_kubelet_may_not_set_a_role_at_registration_or_later(served: Served) -> None:
    code, said = served.join(ALICE, **{LABEL: ""})
    assert (code, "not allowed to modify labels" in said["message"]) == (403, True)
    assert served.join(ALICE, **{"bootwright.io/group": "workers", "topology.kubernetes.io/zone": "a"})[0] == 201
    patch = {"metadata": {"labels": {LABEL: ""}}}
    assert served.ask(kubelet(ALICE), "PATCH", f"{NODES}/{ALICE}", patch, MERGES[0])[0] == 403
    untaint = {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    assert served.ask(kubelet(ALICE), "PATCH", f"{NODES}/{ALICE}", untaint, MERGES[0])[0] == 403


def test_a_status_patch_changes_the_status_alone_and_conditions_by_type(served: Served) -> None:
    served.join(ALICE)
    for kind in ("Ready", "DiskPressure", "Ready"):
        patch = {"status": {"conditions": [{"type": kind, "status": "True"}]}, "metadata": {"labels": {"a": "b"}}}
        code, changed = served.ask(kubelet(ALICE), "PATCH", f"{NODES}/{ALICE}/status", patch, MERGES[0])
        assert code == 200
    assert [one["type"] for one in changed["status"]["conditions"]] == ["Ready", "DiskPressure"]
    assert changed["metadata"]["labels"] == {}


def test_rights_come_from_the_bindings_that_somebody_with_rights_has_put(served: Served) -> None:
    served.join(ALICE)
    assert served.ask(ADMIN, "GET", NODES)[0] == 403
    for value in cluster_objects():
        path = f"{object_path(value)}?fieldManager=bootwright&force=true"
        assert [served.ask(MASTER, "PATCH", path, value, APPLY)[0] for _ in range(2)] == [201, 200]
    code, listed = served.ask(ADMIN, "GET", NODES)
    assert (code, [one["metadata"]["name"] for one in listed["items"]]) == (200, [ALICE])
    assert served.ask(kubelet(BOB), "GET", f"{NODES}/{ALICE}")[0] == 403


def test_a_role_lets_its_group_do_what_it_says_and_no_more(served: Served) -> None:
    served.join(ALICE)
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    rule = {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]}
    role = {"kind": "ClusterRole", "metadata": {"name": "labels"}, "rules": [rule]}
    binding = {
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "labels"},
        "roleRef": {"kind": "ClusterRole", "name": "labels"},
        "subjects": [{"kind": "Group", "name": "bootwright:agents"}],
    }
    assert served.label(AGENT, ALICE, {LABEL: ""})[0] == 403
    assert served.ask(MASTER, "POST", f"{rbac}/clusterroles", role)[0] == 201
    assert served.ask(MASTER, "POST", f"{rbac}/clusterrolebindings", binding)[0] == 201
    assert served.label(AGENT, ALICE, {LABEL: "", "a": "b"})[0] == 200
    # Server-side apply: what the same manager does not name any more goes; what others set stays.
    code, changed = served.label(AGENT, ALICE, {LABEL: ""})
    assert (code, changed["metadata"]["labels"]) == (200, {LABEL: ""})
    assert served.ask(AGENT, "DELETE", f"{NODES}/{ALICE}")[0] == 403


def test_a_write_to_an_older_version_is_a_conflict(served: Served) -> None:
    served.join(ALICE)
    _, first = served.ask(MASTER, "GET", f"{NODES}/{ALICE}")
    assert served.label(MASTER, ALICE, {"a": "b"})[0] == 200
    assert served.ask(MASTER, "PUT", f"{NODES}/{ALICE}", first)[0] == 409


def test_a_patch_of_another_object_of_the_same_name_is_a_conflict(served: Served) -> None:
    _, made = served.join(ALICE)
    path = f"{NODES}/{ALICE}?fieldManager=bootwright"
    for uid, code in ((made["metadata"]["uid"], 200), ("of a node before", 409)):
        body = {"metadata": {"name": ALICE, "uid": uid, "labels": {"a": "b"}}}
        assert served.ask(MASTER, "PATCH", path, body, APPLY)[0] == code


def test_a_kubelet_lists_and_evicts_the_pods_of_its_own_node_and_no_others(served: Served) -> None:
    pods = "/api/v1/namespaces/default/pods"
    for name, where in (("a", ALICE), ("b", BOB)):
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"nodeName": where}}
        assert served.ask(MASTER, "POST", pods, body)[0] == 201
    own = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{ALICE}&limit=500"
    status, found = served.ask(kubelet(ALICE), "GET", own)
    assert (status, [pod["metadata"]["name"] for pod in found["items"]]) == (200, ["a"])
    assert served.ask(kubelet(BOB), "GET", own)[0] == 403
    assert served.ask(kubelet(ALICE), "GET", "/api/v1/pods")[0] == 403
    evictions = [served.ask(kubelet(ALICE), "POST", f"{pods}/{name}/eviction", {})[0] for name in ("a", "b", "none")]
    assert evictions == [201, 403, 404]
    assert [pod["metadata"]["name"] for pod in served.ask(MASTER, "GET", "/api/v1/pods")[1]["items"]] == ["b"]


def test_what_the_double_cannot_do_it_says(served: Served) -> None:
    assert served.ask(MASTER, "GET", f"{NODES}?watch=true")[0] == 501
    assert served.ask(MASTER, "GET", f"{NODES}?fieldSelector=metadata.name%3Dx")[0] == 501
    assert served.ask(MASTER, "GET", "/api")[0] == 404
    served.join(ALICE)
    assert served.ask(MASTER, "PATCH", f"{NODES}/{ALICE}", {}, "application/json-patch+json")[0] == 415


def test_a_renewed_serving_certificate_is_served_without_a_restart(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.ask(None, "GET", "/readyz")
    other = Authority.create("kubernetes", datetime.now(UTC))
    again = Served(served.folder, other, served.port)
    (served.folder / "ca.crt").write_bytes(other.certificate.pem)
    again.credential(
        CertificateRequest(profile="apiserver", name=ALICE, ip_addresses=("127.0.0.1", "10.99.1.4")), "server"
    )
    assert again.ask(MASTER, "GET", NODES)[0] == 200
    assert "serving certificate: reloaded from disk" in capsys.readouterr().out
