"""Compile: (ClusterSpec, public trust, catalogue of assets) -> one Manifest per instance group. Pure."""

import base64

from coordinator.inputs import AssetCatalogue, PublicTrust
from coordinator.spec.cluster import ClusterSpec
from coordinator.spec.etcd import EtcdCluster as EtcdClusterSpec
from coordinator.spec.files import ExtraFile as ExtraFileSpec
from coordinator.spec.groups import InstanceGroup
from units import manifest as m
from units.errors import Invalid, Problem
from units.partitions import sts_endpoint
from units.services.kube_proxy import NAME as KUBE_PROXY
from units.services.kubelet import BINARY as KUBELET
from units.services.kubelet import may_set

# A second etcd cluster on the same nodes needs ports of its own (DESIGN section 6: `events` is optional).
_PORTS = {"main": (2379, 2380, 2381), "events": (2382, 2383, 2384)}
_NFTABLES_SINCE = 33  # kube-proxy's nftables mode is stable (KEP-3866)
_CONTROL_PLANE_IMAGES = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
_CONTROL_PLANE_ASSETS = ("kubectl",)
DEFAULT_PAUSE = "registry.k8s.io/pause:3.10.2"


def compile_manifests(spec: ClusterSpec, public: PublicTrust, catalogue: AssetCatalogue) -> dict[str, m.Manifest]:
    """Manifests by group name, in the spec's order. Invalid if an asset that every node needs was never added."""
    chosen = _chosen_assets(spec, catalogue)
    _require_kubelet(chosen)
    return {group.name: _manifest(spec, group, public, chosen, catalogue) for group in spec.instance_groups}


def _manifest(
    spec: ClusterSpec,
    group: InstanceGroup,
    public: PublicTrust,
    assets: tuple[m.Asset, ...],
    catalogue: AssetCatalogue,
) -> m.Manifest:
    images = _images(spec, group, catalogue)
    return m.Manifest(
        cluster=m.Cluster(name=spec.name, uid=public.uid, region=spec.region),
        group=_group(spec, group),
        kubernetes_version=spec.kubernetes_version,
        network=m.Network(
            vpc=spec.network.vpc,
            network_cidr=str(spec.network.cidr),
            pod_cidr=str(spec.network.pod_cidr),
            service_cidr=str(spec.network.service_cidr),
            cluster_domain=spec.network.cluster_domain,
            cni=spec.network.cni,
        ),
        api=m.Api(endpoint=spec.api_host, port=spec.api.port, extra_sans=tuple(spec.api.extra_sans)),
        etcd=tuple(_etcd(spec, cluster) for cluster in spec.etcd_clusters) if group.is_control_plane else (),
        trust=_trust(spec, group, public),
        identity=_identity(spec, group),
        kube_proxy=_kube_proxy(spec),
        node_name=spec.node_name,
        drift=spec.drift,
        pause_image=next((i.reference for i in images if "/pause:" in i.reference), DEFAULT_PAUSE),
        components=_components(spec),
        files=tuple(_file(file) for file in spec.files_for(group)),
        assets=tuple(a for a in assets if group.is_control_plane or a.name not in _CONTROL_PLANE_ASSETS),
        images=images,
    )


def _group(spec: ClusterSpec, group: InstanceGroup) -> m.Group:
    zones = group.zones or tuple(sorted({subnet.zone for subnet in spec.network.subnets}))
    return m.Group(
        name=group.name,
        role=group.role,
        zones=tuple(zones),
        labels=group.labels,
        taints=tuple(m.Taint(key=taint.key, value=taint.value, effect=taint.effect) for taint in group.taints),
        kubelet=group.kubelet,
    )


def _etcd(spec: ClusterSpec, cluster: EtcdClusterSpec) -> m.EtcdCluster:
    client, peer, metrics = _PORTS[cluster.name]
    return m.EtcdCluster(
        name=cluster.name,
        members=tuple(
            m.EtcdMember(name=member.name, zone=member.zone, group=member.group or "") for member in cluster.members
        ),
        volume=m.EtcdVolume(size_gib=cluster.volume.size_gib),
        client_port=client,
        peer_port=peer,
        metrics_port=metrics,
        extra_args=spec.components.etcd.extra_args,
    )


def _trust(spec: ClusterSpec, group: InstanceGroup, public: PublicTrust) -> m.Trust:
    return public.for_role(group.role, issuer=f"https://{spec.api_host}:{spec.api.port}")


def _identity(spec: ClusterSpec, group: InstanceGroup) -> m.Identity:
    return m.Identity(
        source=spec.identity.source,
        sts_endpoint=spec.identity.sts_endpoint or spec.aws.endpoint_url or sts_endpoint(spec.region),
        port=spec.identity.port,
        leaf_hours=spec.identity.certificate_hours,
        callback_port=spec.identity.callback_port or 0,
        node_groups=tuple(_node_group(worker) for worker in spec.instance_groups if not worker.is_control_plane)
        if group.is_control_plane
        else (),
    )


def _node_group(group: InstanceGroup) -> m.NodeGroup:
    return m.NodeGroup(
        name=group.name,
        instance_profile=group.instance_profile or "",
        labels={key: value for key, value in group.labels.items() if not may_set(key)},
    )


def _kube_proxy(spec: ClusterSpec) -> m.KubeProxy:
    wanted = spec.components.kube_proxy
    stable = "nftables" if spec.kubernetes_minor >= _NFTABLES_SINCE else "iptables"
    return m.KubeProxy(enabled=wanted.enabled, mode=wanted.mode or stable)


def _components(spec: ClusterSpec) -> m.Components:
    components = spec.components
    return m.Components(
        kube_apiserver=components.kube_api_server.extra_args,
        kube_controller_manager=components.kube_controller_manager.extra_args,
        kube_scheduler=components.kube_scheduler.extra_args,
        kube_proxy=components.kube_proxy.extra_args,
        kubelet=components.kubelet.extra_args,
    )


def _file(file: ExtraFileSpec) -> m.ExtraFile:
    mode = int(file.mode, 8)
    try:
        return m.ExtraFile(path=file.path, content=file.data.decode(), mode=mode)
    except UnicodeDecodeError:
        content = base64.b64encode(file.data).decode()
        return m.ExtraFile(path=file.path, content=content, encoding="base64", mode=mode)


def _chosen_assets(spec: ClusterSpec, catalogue: AssetCatalogue) -> tuple[m.Asset, ...]:
    """Of each name the one the spec pins, else the one added last."""
    known = {(asset.name, asset.sha256) for asset in catalogue.assets}
    missing = [
        Problem(f"assets.{name}", f"no asset {name!r} with sha256 {sha256} was added")
        for name, sha256 in spec.assets.items()
        if (name, sha256) not in known
    ]
    if missing:
        raise Invalid(
            "asset-unknown",
            "the spec pins assets that the store does not have",
            problems=tuple(missing),
            remedy="`coordinator assets list` shows what is there; `coordinator assets add` uploads",
        )
    chosen = {a.name: a for a in catalogue.assets if spec.assets.get(a.name, a.sha256) == a.sha256}
    return tuple(chosen[name] for name in sorted(chosen))


def _require_kubelet(assets: tuple[m.Asset, ...]) -> None:
    if not any(asset.path == KUBELET for asset in assets):
        raise Invalid(
            "asset-missing",
            f"no asset is installed as {KUBELET}: no node could run pods",
            remedy=f"coordinator assets add ./kubelet --name kubelet --path {KUBELET}",
        )


def _images(spec: ClusterSpec, group: InstanceGroup, catalogue: AssetCatalogue) -> tuple[m.Image, ...]:
    chosen = {image.reference: image for image in catalogue.images}
    wanted = []
    for reference in sorted(chosen):
        name, _, tag = reference.rpartition("/")[2].partition(":")
        of_this_version = tag == f"v{spec.kubernetes_version}"
        if name in _CONTROL_PLANE_IMAGES and not (group.is_control_plane and of_this_version):
            continue
        if name == KUBE_PROXY and not (spec.components.kube_proxy.enabled and of_this_version):
            continue
        wanted.append(chosen[reference])
    return tuple(wanted)
