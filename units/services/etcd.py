"""etcd as a systemd unit on its own volume: it needs no kubelet and no image, and reads the live /etc/hosts."""

from collections.abc import Iterator

from pki.request import CertificateRequest
from units import paths
from units.accounts import User
from units.credentials import Certificate
from units.errors import Invalid, Problem
from units.etcd_generation import EtcdGeneration, EtcdRestore, HeldBackPods
from units.etcd_peers import EtcdPeers
from units.etcd_rejoin import EtcdUrls
from units.etcd_reserve import EtcdReserve
from units.etcd_restore import Identity
from units.etcd_upgrade import EtcdUpgrade, EtcdVersionNote
from units.etcd_versions import FEATURE_GATES_SINCE, check_flags, check_minor
from units.facts import NodeFacts
from units.files import Directory
from units.host import VolumeClaim
from units.manifest import EtcdCluster, EtcdMember, Manifest
from units.membership import EtcdBegun, EtcdBootstrap, EtcdEstablished
from units.names import url_host
from units.peer_names import PeerNames
from units.render import flags, template_text
from units.resource import Resource
from units.services.base import trusted_file
from units.storage import Mount, Volume
from units.systemd import Unit, reads, unit_arguments

UID = 2379


def etcd(manifest: Manifest, facts: NodeFacts) -> Iterator[Resource]:
    check_minor(facts.etcd_version)
    yield User("etcd", uid=UID, home=paths.ETCD)
    yield Directory(paths.ETCD)
    yield Directory(f"{paths.PKI}/etcd")
    yield Certificate(
        path=paths.pem("etcd", "healthcheck-client"),
        request=CertificateRequest(profile="etcd-healthcheck-client"),
        bundle=manifest.trust.authority("etcd-clients").signing,
        jitter_key=facts.instance_id,
    )
    for cluster in manifest.etcd:
        member = member_of(manifest, facts, cluster)
        _require_flags(cluster, facts)
        yield from _member(manifest, facts, cluster, member)
    yield HeldBackPods()
    yield Unit("bootwright-etcd-backup.timer")


def member_of(manifest: Manifest, facts: NodeFacts, cluster: EtcdCluster) -> EtcdMember:
    """The one member that this group runs in this zone: the volume's tag must name it too."""
    here = [m for m in cluster.members if (m.group, m.zone) == (manifest.group.name, facts.zone)]
    if len(here) != 1:
        bound = ", ".join(f"{m.name} ({m.group}, {m.zone})" for m in cluster.members)
        raise Invalid(
            "etcd-member-ambiguous",
            f"etcd {cluster.name!r}: group {manifest.group.name!r} in zone {facts.zone!r} must carry exactly one "
            f"member, found {len(here)}; members are: {bound}",
            remedy="give each control-plane group and zone its own member in etcdClusters[].members",
        )
    return here[0]


def _require_flags(cluster: EtcdCluster, facts: NodeFacts) -> None:
    """An etcd that meets one flag it does not know does not start, and says so only in its own log."""
    wrong = check_flags(cluster.extra_args, facts.etcd_version)
    if wrong:
        major, minor = facts.etcd_version
        raise Invalid(
            "etcd-flag-unknown",
            f"etcd {cluster.name!r}: this machine's etcd {major}.{minor} would not start: {'; '.join(wrong)}",
            remedy="correct etcdClusters[].extraArgs in cluster.yaml, or launch an image with the etcd they are for",
            problems=tuple(Problem(f"etcd.{cluster.name}.extra_args", one) for one in wrong),
        )


def claim_of(manifest: Manifest, cluster: EtcdCluster, member: EtcdMember) -> VolumeClaim:
    return VolumeClaim(
        cluster=manifest.cluster.name,
        etcd=cluster.name,
        members=tuple(sorted(m.name for m in cluster.members)),
        candidates=(member.name,),
        minimum_bytes=cluster.volume.size_gib * 1024**3,
    )


def urls_of(manifest: Manifest, cluster: EtcdCluster) -> EtcdUrls:
    def urls(port: int) -> tuple[tuple[str, str], ...]:
        names = ((m.name, cluster.member_dns_name(m.name, manifest.cluster.name)) for m in cluster.members)
        return tuple((member, f"https://{name}:{port}") for member, name in names)

    return EtcdUrls(peer=urls(cluster.peer_port), client=urls(cluster.client_port))


def peers_of(manifest: Manifest, facts: NodeFacts, cluster: EtcdCluster, member: EtcdMember) -> EtcdPeers | None:
    """None without others: a single member asks the store for nothing."""
    others = tuple(
        (m.name, cluster.member_dns_name(m.name, manifest.cluster.name)) for m in cluster.members if m != member
    )
    if not others:
        return None
    names = PeerNames(cluster.name, others)
    return EtcdPeers(claim_of(manifest, cluster, member), names, facts.instance_id, facts.private_ip)


def _member(manifest: Manifest, facts: NodeFacts, cluster: EtcdCluster, member: EtcdMember) -> Iterator[Resource]:
    name, mount = cluster.name, f"{paths.ETCD}/{cluster.name}"
    claim = claim_of(manifest, cluster, member)
    yield Volume(claim, mount)
    yield Mount(claim, mount)
    yield EtcdReserve(name, mount)
    yield Directory(f"{mount}/data", mode=0o700, owner="etcd", group="etcd")
    peers = peers_of(manifest, facts, cluster, member)
    if peers is not None:
        yield peers
    dns_name = cluster.member_dns_name(member.name, manifest.cluster.name)
    for profile, authority in (("etcd-server", "etcd-clients"), ("etcd-peer", "etcd-peers")):
        yield Certificate(
            path=paths.pem("etcd", f"{name}-{profile.removeprefix('etcd-')}"),
            # The short name is the CN, which has room for 64 characters; peers and clients look at the SANs.
            request=CertificateRequest(
                profile=profile, name=member.name, dns_names=(dns_name,), ip_addresses=(facts.private_ip,)
            ),
            bundle=manifest.trust.authority(authority).signing,  # type: ignore[arg-type]  # a literal of the tuple above
            jitter_key=facts.instance_id,
            owner="etcd",
            group="etcd",
        )
    environment = f"{paths.RUN}/etcd-{name}.env"
    token = f"{manifest.cluster.name}-{name}-{manifest.cluster.uid}-g1"
    urls = urls_of(manifest, cluster)
    unit = f"bootwright-etcd-{name}.service"
    api = f"https://{url_host(facts.private_ip)}:{manifest.api.port}/livez"
    identity = Identity(member.name, dict(urls.peer)[member.name], initial_cluster(urls))
    yield EtcdRestore(claim, mount, unit, identity, api)
    yield EtcdUpgrade(name, mount, urls.clients_but(member.name))
    yield EtcdBootstrap(claim, mount, environment, token, facts.instance_id, urls)
    yield Unit(
        unit,
        template_text(
            "etcd.service",
            etcd=name,
            mount=mount,
            environment=environment,
            client_url=f"https://127.0.0.1:{cluster.client_port}",
            arguments=unit_arguments(flags(arguments(manifest, facts, cluster, member, token))),
        ),
        # Certificates are read at every handshake, the authorities only at the start (etcd-pki.md 3.4).
        reads=reads(trusted_file(manifest, "etcd-clients"), trusted_file(manifest, "etcd-peers")),
    )
    yield EtcdBegun(claim, mount, environment, peers)
    own = f"https://127.0.0.1:{cluster.client_port}"
    yield EtcdGeneration(claim, mount, (own, *urls.clients_but(member.name)), peers)
    ready = f"http://127.0.0.1:{cluster.metrics_port}/readyz"
    yield EtcdEstablished(claim, mount, environment, ready, urls, peers)
    yield EtcdVersionNote(name, mount)


def initial_cluster(urls: EtcdUrls) -> str:
    """The same on every member, as etcd's flag and as a restored member is told."""
    return ",".join(f"{name}={url}" for name, url in urls.peer)


def arguments(
    manifest: Manifest, facts: NodeFacts, cluster: EtcdCluster, member: EtcdMember, token: str
) -> dict[str, str]:
    """Flags, not ETCD_* variables: CIS checks read the command line (etcd-pki.md 4.5).

    One more stands in the unit: --initial-cluster-state, which EtcdBootstrap decides.
    """

    def peer_url(name: str) -> str:
        return f"https://{cluster.member_dns_name(name, manifest.cluster.name)}:{cluster.peer_port}"

    own = cluster.member_dns_name(member.name, manifest.cluster.name)
    server, peer = paths.pem("etcd", f"{cluster.name}-server"), paths.pem("etcd", f"{cluster.name}-peer")
    client_port = cluster.client_port
    wanted = {
        "name": member.name,
        "data-dir": f"{paths.ETCD}/{cluster.name}/data",
        "listen-client-urls": f"https://127.0.0.1:{client_port},https://{facts.private_ip}:{client_port}",
        "advertise-client-urls": f"https://{own}:{client_port}",
        "listen-peer-urls": f"https://{facts.private_ip}:{cluster.peer_port}",
        "initial-advertise-peer-urls": peer_url(member.name),
        "initial-cluster": ",".join(f"{m.name}={peer_url(m.name)}" for m in cluster.members),
        "initial-cluster-token": token,
        "listen-metrics-urls": f"http://127.0.0.1:{cluster.metrics_port}",
        "cert-file": server,
        "key-file": server,
        "trusted-ca-file": paths.authority_bundle("etcd-clients"),
        "client-cert-auth": "true",
        "peer-cert-file": peer,
        "peer-key-file": peer,
        "peer-trusted-ca-file": paths.authority_bundle("etcd-peers"),
        "peer-client-cert-auth": "true",
        "tls-min-version": "TLS1.2",
        "quota-backend-bytes": str(cluster.quota_bytes),
        "snapshot-count": "10000",
        "logger": "zap",
        **_renamed(facts),
    }
    return {**wanted, **cluster.extra_args}


def _renamed(facts: NodeFacts) -> dict[str, str]:
    if facts.etcd_version >= FEATURE_GATES_SINCE:
        return {
            "feature-gates": "InitialCorruptCheck=true,CompactHashCheck=true",
            "watch-progress-notify-interval": "5s",
        }
    return {
        "experimental-initial-corrupt-check": "true",
        "experimental-compact-hash-check-enabled": "true",
        "experimental-watch-progress-notify-interval": "5s",
    }
