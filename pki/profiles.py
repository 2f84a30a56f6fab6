"""Every certificate of a cluster, as data: who signs it, whom it names, what it may do, how long it lives.

Source of the rows: reference/etcd-pki.md 3.1 to 3.3. `tests/pki/golden/profiles.txt` shows what each row turns into.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, get_args

AuthorityName = Literal["kubernetes", "etcd-peers", "etcd-clients", "front-proxy"]
AUTHORITIES: tuple[AuthorityName, ...] = get_args(AuthorityName)

AUTHORITY_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)

# A node whose clock is behind at first boot must still accept what was issued a moment ago (etcd-pki.md 3.3).
BACKDATE = timedelta(hours=1)

_LOOPBACK = ("127.0.0.1", "::1")


class Usage(StrEnum):
    """What a certificate may prove at the other end of a connection."""

    CLIENT = "client"
    SERVER = "server"


_CLIENT = (Usage.CLIENT,)
_SERVER = (Usage.SERVER,)
_BOTH = (Usage.SERVER, Usage.CLIENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of certificate. `{name}` stands for the node's or etcd member's name, which the request gives."""

    name: str
    authority: AuthorityName
    common_name: str
    organizations: tuple[str, ...] = ()
    usages: tuple[Usage, ...] = _CLIENT
    # Always present, beside what a request adds. A profile without SERVER carries no names at all: the signer of
    # kube-apiserver-client-kubelet forbids them, and nothing reads them in a client certificate.
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    # The request must add an address of its own: peers reach this server by IP.
    wants_address: bool = False
    # `{name}` is a person's, and the request may add groups: `organizations` are then what it adds to.
    names_person: bool = False
    lifetime: timedelta = LEAF_LIFETIME
    longest_lifetime: timedelta = LEAF_LIFETIME

    @property
    def takes_name(self) -> bool:
        return any("{name}" in text for text in (self.common_name, *self.dns_names))


_TABLE = (
    Profile(
        name="apiserver",
        authority="kubernetes",
        common_name="kube-apiserver",
        usages=_SERVER,
        # The request adds kubernetes.default.svc.DOMAIN, the first service IP, the API names and the node's IP.
        dns_names=("{name}", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"),
        ip_addresses=_LOOPBACK,
        wants_address=True,
    ),
    # No system:masters: kubeadm's binding of this user to system:kubelet-api-admin is enough, and can be revoked.
    Profile(name="apiserver-kubelet-client", authority="kubernetes", common_name="kube-apiserver-kubelet-client"),
    Profile(name="apiserver-etcd-client", authority="etcd-clients", common_name="kube-apiserver-etcd-client"),
    # The name must be in kube-apiserver's --requestheader-allowed-names.
    Profile(name="front-proxy-client", authority="front-proxy", common_name="front-proxy-client"),
    # etcd dials itself with its server certificate (the gRPC gateway): both usages.
    Profile(
        name="etcd-server",
        authority="etcd-clients",
        common_name="{name}",
        usages=_BOTH,
        dns_names=("{name}", "localhost"),
        ip_addresses=_LOOPBACK,
        wants_address=True,
    ),
    # etcd compares a peer's address with the names of its certificate (client/pkg/transport/listener_tls.go).
    Profile(
        name="etcd-peer",
        authority="etcd-peers",
        common_name="{name}",
        usages=_BOTH,
        dns_names=("{name}", "localhost"),
        ip_addresses=_LOOPBACK,
        wants_address=True,
    ),
    Profile(name="etcd-healthcheck-client", authority="etcd-clients", common_name="kube-etcd-healthcheck-client"),
    Profile(name="kube-controller-manager", authority="kubernetes", common_name="system:kube-controller-manager"),
    Profile(
        name="kube-controller-manager-server",
        authority="kubernetes",
        common_name="kube-controller-manager",
        usages=_SERVER,
        dns_names=("localhost",),
        ip_addresses=_LOOPBACK,
    ),
    Profile(name="kube-scheduler", authority="kubernetes", common_name="system:kube-scheduler"),
    Profile(
        name="kube-scheduler-server",
        authority="kubernetes",
        common_name="kube-scheduler",
        usages=_SERVER,
        dns_names=("localhost",),
        ip_addresses=_LOOPBACK,
    ),
    # Without the organization a kubelet is authenticated and may do nothing: 403 on everything (measured, 3.2).
    Profile(
        name="kubelet-client",
        authority="kubernetes",
        common_name="system:node:{name}",
        organizations=("system:nodes",),
    ),
    Profile(
        name="kubelet-server",
        authority="kubernetes",
        common_name="system:node:{name}",
        organizations=("system:nodes",),
        usages=_SERVER,
        dns_names=("{name}",),
        wants_address=True,
    ),
    Profile(name="kube-proxy", authority="kubernetes", common_name="system:kube-proxy"),
    # An operator's kubeconfig: hours, not years, unless asked for. The group is bound by the cluster's own RBAC.
    Profile(
        name="admin",
        authority="kubernetes",
        common_name="kubernetes-admin",
        organizations=("kubeadm:cluster-admins",),
        lifetime=timedelta(hours=18),
    ),
    # An operator by name, in groups that RBAC binds, and can unbind; never one of Kubernetes' own.
    Profile(
        name="operator",
        authority="kubernetes",
        common_name="{name}",
        names_person=True,
        lifetime=timedelta(hours=18),
    ),
    # Break-glass, and the first RBAC bindings of a new cluster: RBAC cannot revoke it, so it dies by itself. Never
    # on a node's disk.
    Profile(
        name="super-admin",
        authority="kubernetes",
        common_name="kubernetes-super-admin",
        organizations=("system:masters",),
        lifetime=timedelta(hours=1),
        longest_lifetime=timedelta(hours=18),
    ),
    # The control plane's agent sets the labels that NodeRestriction forbids a kubelet to set.
    Profile(
        name="agent",
        authority="kubernetes",
        common_name="bootwright:agent:{name}",
        organizations=("bootwright:agents",),
    ),
    Profile(
        name="issuer-server",
        authority="kubernetes",
        common_name="bootwright-issuer",
        usages=_SERVER,
        dns_names=("{name}",),
        wants_address=True,
    ),
)

PROFILES: Mapping[str, Profile] = MappingProxyType({profile.name: profile for profile in _TABLE})


def authority_common_name(authority: AuthorityName) -> str:
    """The subject of an authority, and the whole of it: `kubernetes-ca`."""
    return f"{authority}-ca"
