"""The cluster as an administrator sees it through the load balancer; of a double as well as of the real thing."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
import yaml

SECONDS = 5


class NoAnswer(RuntimeError):
    """The API server cannot be reached, or says no; the text says which."""


@dataclass(frozen=True, slots=True)
class NodeView:
    name: str
    ready: str  # "True", "False", "Unknown"; "" before the first status
    address: str
    labels: dict[str, str]
    kubelet: str


@dataclass(frozen=True, slots=True)
class KubernetesView:
    kubeconfig: Path

    def nodes(self) -> dict[str, NodeView]:
        """By name. Raises NoAnswer."""
        return {one["metadata"]["name"]: _node(one) for one in self.get("/api/v1/nodes")["items"]}

    def get(self, path: str) -> Any:
        return self._ask("GET", path)

    def delete(self, path: str) -> None:
        self._ask("DELETE", path)

    def _ask(self, method: str, path: str) -> Any:
        with self._session() as (session, server):
            try:
                answer = session.request(method, server + path, timeout=SECONDS)
            except requests.RequestException as error:
                raise NoAnswer(f"{server}: {error}") from error
        if answer.status_code != 200:
            raise NoAnswer(f"{server}{path}: HTTP {answer.status_code}: {answer.text[:300]}")
        return answer.json()

    @contextmanager
    def _session(self) -> Iterator[tuple[requests.Session, str]]:
        config = yaml.safe_load(self.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        with TemporaryDirectory() as folder, requests.Session() as session:
            session.trust_env = False
            authority, credential = Path(folder) / "ca.crt", Path(folder) / "client.pem"
            authority.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
            pair = (user["client-certificate-data"], user["client-key-data"])
            credential.write_bytes(b"".join(base64.b64decode(part) for part in pair))
            session.verify, session.cert = str(authority), str(credential)
            yield session, cluster["server"]


def _node(value: dict[str, Any]) -> NodeView:
    status = value.get("status", {})
    ready = [one["status"] for one in status.get("conditions", []) if one["type"] == "Ready"]
    addresses = [one["address"] for one in status.get("addresses", []) if one["type"] == "InternalIP"]
    return NodeView(
        name=value["metadata"]["name"],
        ready=ready[0] if ready else "",
        address=addresses[0] if addresses else "",
        labels=dict(value["metadata"].get("labels", {})),
        kubelet=status.get("nodeInfo", {}).get("kubeletVersion", ""),
    )
