"""`coordinator kubeconfig`: a short-lived client certificate for an operator, signed with the cluster's own CA."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from coordinator.documents import ClusterDocument, decode_document
from coordinator.layout import CLUSTER
from coordinator.repository import Repository
from pki.authority import Authority
from pki.keys import PrivateKeyPem, load_public_key, make_key, public_key_pem
from pki.request import CertificateRequest
from units.envelope import (
    MAX_BYTES,
    Context,
    Envelope,
    authority_secret,
    decode_envelope,
    object_key,
    open_envelope,
    require,
)
from units.errors import Refused
from units.render import yaml_text

AUTHORITY: Final = "kubernetes"

Unwrap = Callable[[Envelope], bytes]  # the plain data key of an envelope


@dataclass(frozen=True, slots=True)
class KubeconfigRequest:
    cluster: str
    server: str  # https://HOST:PORT
    lifetime: timedelta


def make_kubeconfig(repository: Repository, request: KubeconfigRequest, unwrap: Unwrap, now: datetime) -> str:
    """YAML with everything in it. The CA's private key is in memory for the moment of one signature.

    The user is kubernetes-admin of the group kubeadm:cluster-admins, which RBAC binds and can unbind; never
    system:masters, which nothing can take rights from.
    """
    state = repository.read()
    document = decode_document(ClusterDocument, repository.read_target(state, CLUSTER))
    bundle = next(authority.bundle for authority in document.authorities if authority.name == AUTHORITY)
    authority = Authority.load(_signing_certificate(bundle), _open_authority(repository, document, unwrap))
    key = make_key()
    wanted = CertificateRequest(profile="admin", lifetime=request.lifetime)
    certificate = authority.issue(wanted, load_public_key(public_key_pem(key)), now)
    return _render(request, bundle.encode(), certificate, key)


def _signing_certificate(bundle: str) -> bytes:
    """The first of the bundle signs; others are trusted through a rotation."""
    end = "-----END CERTIFICATE-----\n"
    return bundle[: bundle.index(end) + len(end)].encode()


def _open_authority(repository: Repository, document: ClusterDocument, unwrap: Unwrap) -> PrivateKeyPem:
    name = authority_secret(AUTHORITY)
    stored = repository.store.get(object_key(name), limit=MAX_BYTES)
    if stored is None:
        raise Refused(
            "secret-missing",
            f"{repository.store.url}/{object_key(name)}: not there",
            remedy="undelete the object (the bucket is versioned)",
        )
    envelope = decode_envelope(stored.body)
    context = Context(cluster=document.name, uid=document.uid, name=name)
    require(envelope, key=document.secrets_key, context=context)
    return PrivateKeyPem(open_envelope(envelope, data_key=unwrap(envelope)))


def _render(request: KubeconfigRequest, bundle: bytes, certificate: bytes, key: PrivateKeyPem) -> str:
    def encoded(content: bytes) -> str:
        return base64.b64encode(content).decode()

    name = f"kubernetes-admin@{request.cluster}"
    return yaml_text(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": request.cluster,
                    "cluster": {"server": request.server, "certificate-authority-data": encoded(bundle)},
                }
            ],
            "users": [
                {
                    "name": name,
                    "user": {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key.pem)},
                }
            ],
            "contexts": [{"name": name, "context": {"cluster": request.cluster, "user": name}}],
            "current-context": name,
        }
    )
