"""etcd members: how many, where, on which machines."""

from collections.abc import Iterator

from coordinator.spec.etcd import EtcdCluster, EtcdMember
from coordinator.spec.problems import Path, shown
from coordinator.spec.rules.finding import Draft, Finding, Rule
from coordinator.spec.rules.placement import repeated
from coordinator.spec.suggestions import did_you_mean_value, either

_READS = ("etcdClusters", "instanceGroups.name", "instanceGroups.role", "instanceGroups.zones", "network.subnets.zone")


def _members(draft: Draft) -> Iterator[tuple[int, EtcdCluster, int, EtcdMember]]:
    for cluster_index, cluster in enumerate(draft.spec.etcd_clusters):
        for index, member in enumerate(cluster.members):
            yield cluster_index, cluster, index, member


def _stated(draft: Draft) -> bool:
    return draft.states("etcdClusters")


def clusters(draft: Draft) -> Iterator[Finding]:
    names = [
        ((("etcdClusters", index, "name")), cluster.name) for index, cluster in enumerate(draft.spec.etcd_clusters)
    ]
    yield from repeated(names, "each etcd cluster once")
    if names and "main" not in {name for _, name in names}:
        yield Finding(("etcdClusters",), "no cluster main", "main, and events if you want it", "rename it to main")


def odd_members(draft: Draft) -> Iterator[Finding]:
    if not _stated(draft):
        groups = len(draft.spec.control_plane_groups)
        if groups not in {0, 1, 3, 5}:
            allowed = "1, 3 or 5: every one carries a member of etcd"
            yield Finding(
                ("instanceGroups",), f"{groups} control-plane groups", allowed, "an even number adds no safety"
            )
        return
    for index, cluster in enumerate(draft.spec.etcd_clusters):
        if len(cluster.members) not in {1, 3, 5}:
            remedy = "an even number of members tolerates no more failures than one less"
            yield Finding(("etcdClusters", index, "members"), str(len(cluster.members)), "1, 3 or 5", remedy)


def unique_members(draft: Draft) -> Iterator[Finding]:
    for index, cluster in enumerate(draft.spec.etcd_clusters if _stated(draft) else ()):
        base: Path = ("etcdClusters", index, "members")
        names = (((*base, position, "name"), member.name) for position, member in enumerate(cluster.members))
        yield from repeated(names, "a name of its own for every member")


def homes(draft: Draft) -> Iterator[Finding]:
    """Every member lives in exactly one control-plane group, which has machines in the member's zone."""
    groups = {group.name: group for group in draft.spec.control_plane_groups}
    for cluster_index, _, index, member in _members(draft) if _stated(draft) else ():
        path: Path = ("etcdClusters", cluster_index, "members", index)
        here = [group.name for group in groups.values() if member.zone in group.zones]
        if member.group is not None and draft.states(*path, "group"):
            if member.group not in groups:
                allowed = f"a control-plane group: {either(sorted(groups))}" if groups else "a control-plane group"
                remedy = did_you_mean_value(member.group, sorted(groups))
                yield Finding((*path, "group"), shown(member.group), allowed, remedy)
            elif member.group not in here:
                allowed = f"a group with machines in {member.zone}"
                remedy = f"{member.group} is in {either(groups[member.group].zones)}"
                yield Finding((*path, "group"), shown(member.group), allowed, remedy)
        elif not here:
            zones = sorted({zone for group in groups.values() for zone in group.zones})
            allowed = (
                f"a zone of a control-plane group: {either(zones)}" if zones else "a zone of a control-plane group"
            )
            yield Finding((*path, "zone"), shown(member.zone), allowed, did_you_mean_value(member.zone, zones))
        elif len(here) > 1:
            found = f"{len(here)} control-plane groups in {member.zone}"
            yield Finding((*path, "group"), found, either(here), "say which of them runs the member: add group")


def one_member_each(draft: Draft) -> Iterator[Finding]:
    """A machine runs one member of a cluster, and every API server has its own: they talk to etcd over 127.0.0.1."""
    control_plane = [group.name for group in draft.spec.control_plane_groups]
    for cluster_index, cluster in enumerate(draft.spec.etcd_clusters if _stated(draft) else ()):
        base: Path = ("etcdClusters", cluster_index, "members")
        seen: dict[str, str] = {}
        for index, member in enumerate(cluster.members):
            if member.group is None:
                continue
            if member.group in seen:
                allowed = "one member of a cluster for each group"
                remedy = f"{seen[member.group]} is there already; make another control-plane group"
                yield Finding((*base, index), f"{shown(member.name)} in group {member.group}", allowed, remedy)
            seen.setdefault(member.group, member.name)
        bare = [name for name in control_plane if name not in seen]
        if bare and None not in {member.group for member in cluster.members}:
            allowed = "a member in every control-plane group"
            remedy = "each API server uses the member on its own machine"
            yield Finding(base, f"no member of {cluster.name} in {either(bare)}", allowed, remedy)


def fixed_size(draft: Draft) -> Iterator[Finding]:
    """A group that carries a member has one machine, because the member's volume attaches to one."""
    for index, group in enumerate(draft.spec.instance_groups):
        if (
            group.is_control_plane
            and (group.min_size, group.max_size) != (1, 1)
            and group.min_size <= (group.max_size or 0)
        ):
            key = "maxSize" if group.max_size != 1 else "minSize"
            yield Finding(
                ("instanceGroups", index, key),
                f"minSize {group.min_size}, maxSize {group.max_size}",
                "minSize 1 and maxSize 1 for a control-plane group",
                "it carries an etcd member whose volume attaches to one machine; for more machines make more groups",
            )


def one_zone(draft: Draft) -> Iterator[Finding]:
    """A group that carries a member is in one zone, because the member's volume is."""
    for index, group in enumerate(draft.spec.instance_groups):
        if group.is_control_plane and len(group.zones) > 1:
            path: Path = ("instanceGroups", index, "zones")
            yield Finding(
                path if draft.states(*path) else path[:-1],
                f"{len(group.zones)} zones",
                "one zone for a control-plane group",
                "its machine could come up in a zone where its etcd volume is not; make one group for each zone",
            )


RULES = (
    Rule(("etcdClusters.name",), clusters),
    Rule(("etcdClusters.members", "instanceGroups.role"), odd_members),
    Rule(("etcdClusters.members.name",), unique_members),
    Rule(_READS, homes),
    Rule(_READS, one_member_each),
    Rule(("instanceGroups.role",), fixed_size),
    Rule(("instanceGroups.role", "instanceGroups.zones", "network.subnets.zone"), one_zone),
)
