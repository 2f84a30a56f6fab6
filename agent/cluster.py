"""Puts the cluster's first objects into a new API server, with a certificate that lives an hour and only in memory."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import requests

from agent.cluster_stamp import STAMP, wanted_stamp
from pki.certificate import combine
from pki.keys import make_key, public_key_pem
from pki.request import CertificateRequest
from units.cluster_objects import cluster_objects, object_path
from units.errors import Retryable
from units.host import Host
from units.manifest import Manifest
from units.names import url_host
from units.paths import authority_bundle

_SECONDS = 10


def put_cluster_objects(manifest: Manifest, host: Host, address: str) -> bool:
    """Server-side apply of all objects; False while the API server is not ready. Retryable: what it said."""
    base = f"https://{url_host(address)}:{manifest.api.port}"
    ready = host.probes.get(f"{base}/readyz")
    if ready is None or ready.status != 200:
        return False
    key = make_key()
    certificate = host.secrets.issue(CertificateRequest(profile="super-admin"), public_key_pem(key))
    with _in_memory(combine(certificate, key)) as credential, requests.Session() as session:
        session.trust_env = False
        session.verify = authority_bundle("kubernetes")
        session.cert = credential
        for value in cluster_objects():
            _apply(session, base + object_path(value), json.dumps(value))
    host.files.write(STAMP, wanted_stamp(), mode=0o644, owner="root", group="root")
    return True


def _apply(session: requests.Session, url: str, body: str) -> None:
    try:
        answer = session.patch(
            url,
            params={"fieldManager": "bootwright", "force": "true"},
            data=body,
            headers={"Content-Type": "application/apply-patch+yaml"},
            timeout=_SECONDS,
            allow_redirects=False,
        )
    except requests.RequestException as error:
        raise Retryable("api-server-unreachable", f"{url}: {error}", remedy="agent status") from error
    if answer.status_code not in (200, 201):
        raise Retryable(
            "cluster-object-refused",
            f"{url}: HTTP {answer.status_code}: {answer.text[:300]}",
            remedy="the API server's own log says more: crictl logs of kube-apiserver",
        )


@contextmanager
def _in_memory(pem: bytes) -> Iterator[str]:
    """A path that OpenSSL can read, of a file that lies on no disk."""
    descriptor = os.memfd_create("bootwright-super-admin", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
