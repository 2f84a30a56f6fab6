"""What a spec leaves out, filled in."""

from coordinator.spec.cluster import ClusterSpec
from coordinator.spec.etcd import EtcdCluster, EtcdMember, EtcdVolume
from coordinator.spec.groups import InstanceGroup

GP3_IOPS = 3000
GP3_THROUGHPUT = 125


def fill(spec: ClusterSpec) -> ClusterSpec:
    """`spec` with group sizes and zones, etcd members, their groups, and volume speeds. Idempotent; judges nothing."""
    zones = tuple(sorted({subnet.zone for subnet in spec.network.subnets}))
    groups = tuple(_filled_group(group, zones, spec.name) for group in spec.instance_groups)
    control_plane = tuple(group for group in groups if group.is_control_plane)
    clusters = spec.etcd_clusters or _one_etcd(control_plane)
    return spec.model_copy(
        update={
            "instance_groups": groups,
            "etcd_clusters": tuple(_filled_etcd(cluster, control_plane) for cluster in clusters),
        }
    )


def _filled_group(group: InstanceGroup, zones: tuple[str, ...], cluster: str) -> InstanceGroup:
    largest = group.min_size if group.max_size is None else group.max_size
    profile = group.instance_profile or f"{'control-plane' if group.is_control_plane else 'nodes'}.{cluster}"
    return group.model_copy(
        update={"max_size": max(largest, 1), "zones": group.zones or zones, "instance_profile": profile}
    )


def _one_etcd(control_plane: tuple[InstanceGroup, ...]) -> tuple[EtcdCluster, ...]:
    """`main`, a member for each control-plane group, named by the zone's letter as kops does where that is unique."""
    homes = [(group, group.zones[0]) for group in control_plane[:5]]
    letters = [zone[-1] for _, zone in homes]
    names = letters if len(set(letters)) == len(letters) else [group.name for group, _ in homes]
    members = tuple(
        EtcdMember(name=name, zone=zone, group=group.name) for name, (group, zone) in zip(names, homes, strict=True)
    )
    return (EtcdCluster(name="main", members=members),) if members else ()


def _filled_etcd(cluster: EtcdCluster, control_plane: tuple[InstanceGroup, ...]) -> EtcdCluster:
    members = []
    for member in cluster.members:
        here = [group.name for group in control_plane if member.zone in group.zones]
        group = member.group or (here[0] if len(here) == 1 else None)
        members.append(member.model_copy(update={"group": group}))
    return cluster.model_copy(update={"members": tuple(members), "volume": _filled_volume(cluster.volume)})


def _filled_volume(volume: EtcdVolume) -> EtcdVolume:
    if volume.type != "gp3":
        return volume
    return volume.model_copy(
        update={"iops": volume.iops or GP3_IOPS, "throughput": volume.throughput or GP3_THROUGHPUT}
    )
