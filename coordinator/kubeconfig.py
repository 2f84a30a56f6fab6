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
from pki.errors import PkiError
from pki.keys import PrivateKeyPem, load_public_key, make_key, public_key_pem
from pki.request import CertificateRequest
from units.cluster_objects import VIEWERS
from units.envelope import MAX_BYTES, Context, Envelope, decode_envelope, object_key, open_envelope, require
from units.errors import Invalid, Refused
from units.manifest import Authority as PublicAuthority
from units.render import yaml_text

AUTHORITY: Final = "kubernetes"
BREAK_GLASS_LIFETIME: Final = timedelta(hours=1)
VIEWER: Final = "kubernetes-viewer"

Unwrap = Callable[[Envelope], bytes]  # the plain data key of an envelope


@dataclass(frozen=True, slots=True)
class Person:
    """Whom the certificate names. Nobody in particular is the cluster's administrator, kubernetes-admin."""

    user: str = ""
    groups: tuple[str, ...] = ()
    read_only: bool = False
    break_glass: bool = False


@dataclass(frozen=True, slots=True)
class KubeconfigRequest:
    cluster: str
    server: str  # https://HOST:PORT
    lifetime: timedelta
    person: Person = Person()


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    text: str  # secret: it holds the private key
    user: str
    groups: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Kubeconfig({self.user})"


def make_kubeconfig(repository: Repository, request: KubeconfigRequest, unwrap: Unwrap, now: datetime) -> Kubeconfig:
    """YAML with everything in it. The CA's private key is in memory for the moment of one signature.

    By default the user is kubernetes-admin of the group kubeadm:cluster-admins, which RBAC binds and can unbind; in
    system:masters, which nothing can take rights from, is only who breaks the glass, for an hour.
    """
    wanted = certificate_request(request.person, request.lifetime)
    state = repository.read()
    document = decode_document(ClusterDocument, repository.read_target(state, CLUSTER))
    public = next(authority for authority in document.authorities if authority.name == AUTHORITY)
    authority = Authority.load(public.signing.encode(), _open_authority(repository, document, public, unwrap))
    key = make_key()
    certificate = authority.issue(wanted, load_public_key(public_key_pem(key)), now)
    text = _render(request, wanted.common_name, public.bundle.encode(), certificate, key)
    return Kubeconfig(text, wanted.common_name, wanted.organizations)


def certificate_request(person: Person, lifetime: timedelta) -> CertificateRequest:
    """Invalid if the options exclude each other, or the name is one that nobody may have."""
    if not lifetime:  # a request without one would get its profile's
        raise Invalid("kubeconfig-person", "a lifetime of nothing", remedy="--ttl 18h")
    if person.break_glass:
        return _break_glass(person, lifetime)
    try:
        if person.read_only:
            if person.groups:
                raise Invalid("kubeconfig-person", f"--read-only is the group {VIEWERS}; it takes no other --group")
            user = person.user or VIEWER
            return CertificateRequest(profile="operator", name=user, groups=(VIEWERS,), lifetime=lifetime)
        if person.user:
            return CertificateRequest(profile="operator", name=person.user, groups=person.groups, lifetime=lifetime)
        if person.groups:
            raise Invalid("kubeconfig-person", "--group needs a --user: an audit log with a group alone names nobody")
        return CertificateRequest(profile="admin", lifetime=lifetime)
    except PkiError as error:
        remedy = "choose another user or group" if person.user else "a shorter --ttl"
        raise Invalid("kubeconfig-person", str(error), remedy=remedy) from error


def _break_glass(person: Person, lifetime: timedelta) -> CertificateRequest:
    if person.user or person.groups or person.read_only:
        raise Invalid("kubeconfig-person", "--break-glass is kubernetes-super-admin; it takes no user and no group")
    if lifetime > BREAK_GLASS_LIFETIME:
        raise Invalid(
            "kubeconfig-break-glass",
            f"a system:masters certificate for {lifetime}: nothing can revoke it, so {BREAK_GLASS_LIFETIME} is allowed",
            remedy="--ttl 1h, or less",
        )
    return CertificateRequest(profile="super-admin", lifetime=lifetime)


def _open_authority(
    repository: Repository, document: ClusterDocument, public: PublicAuthority, unwrap: Unwrap
) -> PrivateKeyPem:
    stored = repository.store.get(object_key(public.secret), limit=MAX_BYTES)
    if stored is None:
        raise Refused(
            "secret-missing",
            f"{repository.store.url}/{object_key(public.secret)}: not there",
            remedy="undelete the object (the bucket is versioned)",
        )
    envelope = decode_envelope(stored.body)
    context = Context(cluster=document.name, uid=document.uid, name=public.secret)
    require(envelope, key=document.secrets_key, context=context)
    return PrivateKeyPem(open_envelope(envelope, data_key=unwrap(envelope)))


def _render(request: KubeconfigRequest, user: str, bundle: bytes, certificate: bytes, key: PrivateKeyPem) -> str:
    def encoded(content: bytes) -> str:
        return base64.b64encode(content).decode()

    name = f"{user}@{request.cluster}"
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
