"""The API server of this very node, asked with certificates that live an hour and only in memory."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import requests

from agent.memory_file import in_memory
from pki.certificate import combine
from pki.keys import make_key, public_key_pem
from pki.request import CertificateRequest
from units.cluster_objects import cluster_objects, object_path
from units.errors import Retryable
from units.host import Host
from units.manifest import Manifest
from units.names import url_host
from units.node_labels import FIELD_MANAGER
from units.paths import authority_bundle

_SECONDS = 10
_LIFETIME = timedelta(hours=1)
_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"  # a whole Node lists its images


class Cluster:
    """One user's connection. Retryable with the API server's own words for whatever it does not do."""

    def __init__(self, base: str, session: requests.Session) -> None:
        self._base = base
        self._session = session

    def metadata(self, path: str) -> dict[str, Any] | None:
        """Of one object; None if there is no such object."""
        answer = self._ask("GET", path)
        if answer.status_code == 404:
            return None
        self._require(answer, path, (200,))
        try:
            found = answer.json()["metadata"]
        except (ValueError, KeyError, TypeError):
            found = None
        if not isinstance(found, dict):
            raise Retryable("cluster-answer-unreadable", f"{path}: no object in the answer: {answer.text[:300]!r}")
        return found

    def apply(self, path: str, value: dict[str, Any]) -> None:
        """Server-side: what this manager set before and does not set now goes away; other managers' fields stay."""
        answer = self._ask(
            "PATCH",
            path,
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
            data=json.dumps(value),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        self._require(answer, path, (200, 201))

    def _ask(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> requests.Response:
        try:
            return self._session.request(
                method,
                self._base + path,
                headers={"Accept": _METADATA, **(headers or {})},
                timeout=_SECONDS,
                allow_redirects=False,
                **more,
            )
        except requests.RequestException as error:
            raise Retryable("api-server-unreachable", f"{self._base}{path}: {error}", remedy="agent status") from error

    def _require(self, answer: requests.Response, path: str, allowed: tuple[int, ...]) -> None:
        if answer.status_code in allowed:
            return
        raise Retryable(
            "cluster-access-denied" if answer.status_code in (401, 403) else "cluster-object-refused",
            f"{self._base}{path}: HTTP {answer.status_code}: {answer.text[:300]}",
            remedy="the API server's own log says more: crictl logs of kube-apiserver",
        )


@contextmanager
def connected(
    manifest: Manifest,
    host: Host,
    address: str,
    request: CertificateRequest,
    *,
    authority: str = authority_bundle("kubernetes"),
) -> Iterator[Cluster]:
    """As whom `request` names; the certificate is issued here, and gone with the connection."""
    key = make_key()
    certificate = host.secrets.issue(request, public_key_pem(key))
    with in_memory(combine(certificate, key)) as credential, requests.Session() as session:
        session.trust_env = False
        session.verify = authority
        session.cert = credential
        yield Cluster(_base(manifest, address), session)


def agent_identity(instance_id: str) -> CertificateRequest:
    """By instance id: a long node name does not fit into a common name beside the prefix."""
    return CertificateRequest(profile="agent", name=instance_id, lifetime=_LIFETIME)


def api_server_ready(manifest: Manifest, host: Host, address: str) -> bool:
    ready = host.probes.get(f"{_base(manifest, address)}/readyz")
    return ready is not None and ready.status == 200


def put_cluster_objects(
    manifest: Manifest, host: Host, address: str, *, authority: str = authority_bundle("kubernetes")
) -> None:
    """Server-side apply of all objects, as a super-admin: nobody else has any right in a new cluster."""
    request = CertificateRequest(profile="super-admin")
    with connected(manifest, host, address, request, authority=authority) as cluster:
        for value in cluster_objects():
            cluster.apply(object_path(value), value)


def _base(manifest: Manifest, address: str) -> str:
    return f"https://{url_host(address)}:{manifest.api.port}"
