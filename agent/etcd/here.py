"""The etcd clusters of this machine: which member it carries, how to reach it and the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.etcd.admin import EtcdClients
from units import paths
from units.errors import Invalid
from units.manifest import EtcdCluster, Manifest


@dataclass(frozen=True, slots=True)
class EtcdHere:
    """One cluster as this machine knows it from its manifest."""

    name: str
    member: str
    own: EtcdClients  # this machine's member alone
    all: EtcdClients  # this machine's first, then the others
    metrics_url: str
    server: str  # PEM file of the member's own certificate and key
    mount: Path
    quota_bytes: int

    @property
    def voting(self) -> EtcdClients:
        """Who is asked what a learner does not answer, when this machine's member is one."""
        return self.all.at(*(url for url in self.all.urls if url not in self.own.urls))

    @property
    def unit(self) -> str:
        return f"bootwright-etcd-{self.name}.service"


def etcd_here(
    manifest: Manifest, zone: str, clients: Callable[[Sequence[str]], EtcdClients], *, only: str | None = None
) -> tuple[EtcdHere, ...]:
    """Every cluster of which this machine carries a member. Invalid `etcd-unknown` if `only` names none of them."""
    found = []
    for cluster in manifest.etcd:
        here = [one for one in cluster.members if (one.group, one.zone) == (manifest.group.name, zone)]
        if len(here) == 1 and only in (None, cluster.name):
            found.append(_here(manifest, cluster, here[0].name, clients))
    if only is not None and not found:
        names = ", ".join(cluster.name for cluster in manifest.etcd) or "none"
        raise Invalid("etcd-unknown", f"this machine carries no member of etcd {only!r}; the manifest has: {names}")
    return tuple(found)


def _here(
    manifest: Manifest, cluster: EtcdCluster, member: str, clients: Callable[[Sequence[str]], EtcdClients]
) -> EtcdHere:
    own = f"https://127.0.0.1:{cluster.client_port}"
    others = (
        f"https://{cluster.member_dns_name(one.name, manifest.cluster.name)}:{cluster.client_port}"
        for one in cluster.members
        if one.name != member
    )
    return EtcdHere(
        name=cluster.name,
        member=member,
        own=clients((own,)),
        all=clients((own, *others)),
        metrics_url=f"http://127.0.0.1:{cluster.metrics_port}",
        server=paths.pem("etcd", f"{cluster.name}-server"),
        mount=Path(paths.ETCD) / cluster.name,
        quota_bytes=cluster.quota_bytes,
    )
