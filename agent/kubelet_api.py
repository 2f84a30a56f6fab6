"""The API server, asked with kubelet's own kubeconfig: as whatever kubelet is there, and with nothing it may not do."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from units.errors import Retryable
from units.node_api import UNREACHABLE, NodePod
from units.paths import KUBELET_KUBECONFIG

_SECONDS = 10.0
_MOST = 16 * 1024 * 1024  # bytes of a list of pods; 500 with long annotations are two
_MOST_PODS = 500  # a kubelet takes 110 unless it is told otherwise
_MIRROR = "kubernetes.io/config.mirror"


class KubeletApi:
    """Implements `units.node_api.NodeApi`. The kubeconfig is read anew for each question: a change may replace it."""

    def __init__(self, kubeconfig: Path = Path(KUBELET_KUBECONFIG)) -> None:
        self._kubeconfig = kubeconfig

    def lease_renewed(self, node: str) -> datetime | None:
        path = f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}"
        status, answer = self._ask("GET", path, allowed=(200, 404))
        if status == 404:
            return None
        renewed = _at(answer, "spec", "renewTime")
        try:
            return datetime.fromisoformat(str(renewed))
        except ValueError as error:
            raise _unreadable(path, f"renewTime is {renewed!r}") from error

    def schedulable(self, node: str) -> bool | None:
        status, answer = self._ask("GET", f"/api/v1/nodes/{node}", allowed=(200, 404))
        return None if status == 404 else _at(answer, "spec", "unschedulable") is not True

    def set_schedulable(self, node: str, *, schedulable: bool) -> None:
        patch = {"spec": {"unschedulable": None if schedulable else True}}
        self._ask("PATCH", f"/api/v1/nodes/{node}", patch, allowed=(200,))

    def pods(self, node: str) -> tuple[NodePod, ...]:
        path = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{node}&limit={_MOST_PODS}"
        _status, answer = self._ask("GET", path, allowed=(200,))
        items = answer.get("items")
        if not isinstance(items, list):
            raise _unreadable(path, "it has no items")
        return tuple(_pod(item) for item in items if isinstance(item, dict))

    def evict(self, pod: NodePod) -> str:
        """Any answer but a denial of the right itself is a reason of this pod's: a budget, or two of them."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod.name, "namespace": pod.namespace},
        }
        path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/eviction"
        status, answer = self._ask("POST", path, body, allowed=(200, 201, 404, 409, 422, 429, 500))
        return "" if status in (200, 201, 404) else str(answer.get("message") or f"HTTP {status}")[:300]

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, allowed: tuple[int, ...]
    ) -> tuple[int, dict[str, Any]]:
        import requests  # 40 ms of CPU, which only a run that changes something needs

        server, authority, credential = self._access()
        with requests.Session() as session:
            session.trust_env = False
            session.verify, session.cert = authority, credential
            try:
                with session.request(
                    method,
                    server + path,
                    data=None if body is None else json.dumps(body),
                    headers={"Accept": "application/json", "Content-Type": _KIND[method]},
                    timeout=_SECONDS,
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    content = answer.raw.read(_MOST + 1, decode_content=True)
            except (requests.RequestException, OSError) as error:
                raise _no_answer(server, error) from error
        return answer.status_code, _judged(server + path, answer.status_code, content, allowed)

    def _access(self) -> tuple[str, str, tuple[str, str]]:
        """Server, authority, certificate and key of the kubeconfig: ours has one of each."""
        import yaml

        try:
            found = yaml.safe_load(self._kubeconfig.read_text())
            cluster, user = found["clusters"][0]["cluster"], found["users"][0]["user"]
            pair = (str(user["client-certificate"]), str(user["client-key"]))
            return str(cluster["server"]), str(cluster["certificate-authority"]), pair
        except (OSError, yaml.YAMLError, KeyError, IndexError, TypeError) as error:
            said = f"{self._kubeconfig}: {type(error).__name__}: {error}"
            raise Retryable("kubeconfig-unreadable", said, remedy="agent diff") from error


_KIND = {
    "GET": "application/json",
    "POST": "application/json",
    "PATCH": "application/merge-patch+json",
}


def _judged(url: str, status: int, content: bytes, allowed: tuple[int, ...]) -> dict[str, Any]:
    said = content[:300].decode(errors="replace")
    if status in (401, 403):
        raise Retryable(
            "cluster-access-denied", f"{url}: HTTP {status}: {said}", remedy="agent certs; journalctl -u kubelet"
        )
    if status not in allowed:
        code = UNREACHABLE if status >= 500 or status == 429 else "cluster-object-refused"
        raise Retryable(code, f"{url}: HTTP {status}: {said}", remedy="agent status")
    if len(content) > _MOST:
        raise _unreadable(url, f"it is longer than {_MOST} bytes")
    try:
        found = json.loads(content)
    except ValueError as error:
        raise _unreadable(url, said) from error
    return found if isinstance(found, dict) else {}


def _no_answer(server: str, error: Exception) -> Retryable:
    if "certificate" in str(error).lower():  # theirs or ours; a connection that breaks off is no such thing
        return Retryable("api-server-not-trusted", f"{server}: {error}", remedy="agent doctor")
    return Retryable(UNREACHABLE, f"{server}: {error}", remedy="agent status")


def _unreadable(path: str, said: str) -> Retryable:
    return Retryable("cluster-answer-unreadable", f"{path}: no object in the answer: {said}")


def _at(value: Any, *keys: str) -> Any:
    """What lies there; None if nothing does. The API server leaves out what is empty."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _pod(item: dict[str, Any]) -> NodePod:
    owners = _at(item, "metadata", "ownerReferences") or []
    controller = next((owner for owner in owners if isinstance(owner, dict) and owner.get("controller")), {})
    return NodePod(
        namespace=str(_at(item, "metadata", "namespace")),
        name=str(_at(item, "metadata", "name")),
        owner=str(controller.get("kind", "")),
        mirror=_MIRROR in (_at(item, "metadata", "annotations") or {}),
        ended=_at(item, "status", "phase") in ("Succeeded", "Failed"),
        going=_at(item, "metadata", "deletionTimestamp") is not None,
    )
