"""The node object, as kubelet registers it and keeps it alive with its own client certificate."""

import http.client
import json
import platform
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from .tls import Reloading

BEAT_SECONDS = 10.0
RETRY_SECONDS = 2.0


class ApiError(OSError):
    pass


@dataclass(frozen=True, slots=True)
class NodeSettings:
    name: str
    address: str
    labels: Mapping[str, str]
    config: Mapping[str, Any]  # KubeletConfiguration


class Node:
    def __init__(
        self, kubeconfig: Mapping[str, Any], settings: NodeSettings, says: str, say: Callable[[str], None]
    ) -> None:
        cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
        self._server = urlsplit(cluster["server"])
        self._settings, self._says, self._say = settings, says, say
        authority, pair = cluster["certificate-authority"], (user["client-certificate"], user["client-key"])

        def make() -> ssl.SSLContext:
            context = ssl.create_default_context(cafile=authority)
            context.load_cert_chain(*pair)
            return context

        self._context = Reloading("client certificate", (pair[0], authority), make, say)

    def run(self) -> None:
        """For ever: register, then a heartbeat every ten seconds."""
        last = ""
        registered = False
        while True:
            try:
                if not registered:
                    self._register()
                    registered = True
                self._beat()
                if last:
                    self._say("the API server answers again")
                last = ""
            except (OSError, http.client.HTTPException) as error:
                if str(error) != last:
                    self._say(f"{self._server.geturl()}: {type(error).__name__}: {error}")
                last = str(error)
                # Somebody may have deleted the node; only a registration would bring it back.
                registered = registered and "HTTP 404" not in last
            time.sleep(RETRY_SECONDS if last else BEAT_SECONDS)

    def _register(self) -> None:
        path = f"/api/v1/nodes/{self._settings.name}"
        status, _ = self._ask("GET", path, None, allowed=(200, 404))
        if status == 404:
            self._ask("POST", "/api/v1/nodes", self._object(), allowed=(201, 409))
            self._say(f"registered node {self._settings.name} at {self._server.geturl()}")
        else:
            self._ask("PATCH", path, {"metadata": {"labels": self._labels()}})
            self._say(f"node {self._settings.name} was registered at {self._server.geturl()}")

    def _beat(self) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        path = f"/api/v1/nodes/{self._settings.name}"
        _, node = self._ask("GET", path, None)
        known = {one["type"]: one for one in node.get("status", {}).get("conditions", [])}.get("Ready", {})
        since = known.get("lastTransitionTime", now) if known.get("status") == "True" else now
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "KubeletReady",
            "message": self._says,
            "lastHeartbeatTime": now,
            "lastTransitionTime": since,
        }
        self._ask("PATCH", f"{path}/status", {"status": {**self._status(), "conditions": [ready]}})
        if known.get("status") != "True":
            self._say("the node is Ready")

    def _status(self) -> dict[str, Any]:
        addresses = [("InternalIP", self._settings.address), ("Hostname", self._settings.name)]
        info = {"kubeletVersion": self._says, "kernelVersion": platform.release(), "operatingSystem": "linux"}
        return {"addresses": [{"type": kind, "address": text} for kind, text in addresses], "nodeInfo": info}

    def _object(self) -> dict[str, Any]:
        config = self._settings.config
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self._settings.name, "labels": self._labels()},
            "spec": {"providerID": config["providerID"], "taints": config.get("registerWithTaints") or []},
            "status": self._status(),
        }

    def _labels(self) -> dict[str, str]:
        own = {
            "kubernetes.io/hostname": self._settings.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
        }
        return {**own, **self._settings.labels}

    def _ask(
        self, method: str, path: str, body: Any, *, allowed: tuple[int, ...] = (200, 201)
    ) -> tuple[int, dict[str, Any]]:
        kind = "application/strategic-merge-patch+json" if method == "PATCH" else "application/json"
        connection = http.client.HTTPSConnection(
            self._server.hostname or "", self._server.port, timeout=10, context=self._context()
        )
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": kind})
            answer = connection.getresponse()
            said = answer.read()
        finally:
            connection.close()
        if answer.status not in allowed:
            raise ApiError(f"HTTP {answer.status} to {method} {path}: {said[:300].decode(errors='replace')}")
        return answer.status, dict(json.loads(said))
