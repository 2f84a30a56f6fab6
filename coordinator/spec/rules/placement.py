"""Zones, subnets and instance groups: who is where, how many, under which name."""

from collections.abc import Iterable, Iterator

from coordinator.spec.problems import Path, shown
from coordinator.spec.rules.finding import Draft, Finding, Rule
from coordinator.spec.suggestions import did_you_mean_value, either


def repeated(words: Iterable[tuple[Path, str]], allowed: str) -> Iterator[Finding]:
    """A finding for every word that has come before."""
    seen: dict[str, Path] = {}
    for path, word in words:
        if word in seen:
            yield Finding(path, f"{shown(word)} a second time", allowed)
        seen.setdefault(word, path)


def zones_of_region(draft: Draft) -> Iterator[Finding]:
    region = draft.spec.region
    for index, subnet in enumerate(draft.spec.network.subnets):
        if not subnet.zone.startswith(region):
            remedy = "a cluster lives in one region; is `region` right?"
            yield Finding(("network", "subnets", index, "zone"), shown(subnet.zone), f"a zone of {region}", remedy)


def zones_with_subnets(draft: Draft) -> Iterator[Finding]:
    served = sorted({subnet.zone for subnet in draft.spec.network.subnets})
    for index, group in enumerate(draft.spec.instance_groups):
        if not draft.states("instanceGroups", index, "zones"):
            continue
        for position, zone in enumerate(group.zones):
            if zone not in served:
                remedy = did_you_mean_value(zone, served) or "add a subnet for it to network.subnets"
                path: Path = ("instanceGroups", index, "zones", position)
                yield Finding(path, shown(zone), f"a zone that has a subnet: {either(served)}", remedy)


def unique_names(draft: Draft) -> Iterator[Finding]:
    yield from repeated(
        ((("instanceGroups", index, "name"), group.name) for index, group in enumerate(draft.spec.instance_groups)),
        "a name of its own for every group",
    )


def unique_places(draft: Draft) -> Iterator[Finding]:
    yield from repeated(
        ((("network", "subnets", index, "id"), subnet.id) for index, subnet in enumerate(draft.spec.network.subnets)),
        "each subnet once",
    )
    for index, group in enumerate(draft.spec.instance_groups):
        if draft.states("instanceGroups", index, "zones"):
            zones = ((("instanceGroups", index, "zones", position), zone) for position, zone in enumerate(group.zones))
            yield from repeated(zones, "each zone once")


def sizes(draft: Draft) -> Iterator[Finding]:
    for index, group in enumerate(draft.spec.instance_groups):
        if group.max_size is not None and group.min_size > group.max_size:
            allowed = f"minSize up to maxSize ({group.max_size})"
            yield Finding(("instanceGroups", index, "minSize"), str(group.min_size), allowed)


def has_control_plane(draft: Draft) -> Iterator[Finding]:
    if not draft.spec.control_plane_groups:
        allowed = "at least one group with role: control-plane"
        yield Finding(("instanceGroups",), "groups of role node only", allowed, "the API server and etcd run there")


RULES = (
    Rule(("region", "network.subnets.zone"), zones_of_region),
    Rule(("network.subnets.zone", "instanceGroups.zones"), zones_with_subnets),
    Rule(("instanceGroups.name",), unique_names),
    Rule(("network.subnets.id", "instanceGroups.zones"), unique_places),
    Rule((), sizes),
    Rule(("instanceGroups.role",), has_control_plane),
)
