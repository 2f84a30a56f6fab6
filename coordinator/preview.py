"""Preview: what a new manifest changes on a node, computed by the very code that the node will run. Pure."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from coordinator.rehearsal import Rehearsals, rehearse
from units.actions import Action, actions
from units.errors import Invalid
from units.facts import sample_facts
from units.manifest import Manifest
from units.plan import Plan, plan
from units.resource import Resource

__all__ = ["GroupDiff", "ItemDiff", "preview_group", "rehearse"]


@dataclass(frozen=True, slots=True)
class ItemDiff:
    """One resource: its unified diff, without the file header."""

    key: str
    kind: Literal["add", "change", "remove"]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GroupDiff:
    group: str
    items: tuple[ItemDiff, ...]
    actions: tuple[Action, ...] = ()  # what it disrupts on a node that runs the published manifest, the worst first

    @property
    def changed(self) -> bool:
        return bool(self.items)


def preview_group(before: Manifest | None, after: Manifest, rehearsals: Rehearsals | None = None) -> GroupDiff:
    """The change per resource, on the sample machine of every zone of the group; each item once.

    Groups that share `rehearsals` are rehearsed together.

    Invalid (`plan-impossible`, `preview-failed`) if the new manifest cannot be planned, or does not converge on a
    machine in memory: then nothing may be published.
    """
    rehearsals = rehearsals or Rehearsals()
    items: dict[tuple[str, tuple[str, ...]], ItemDiff] = {}
    disrupted: dict[Action, None] = {}
    for zone in after.group.zones:
        the_plan = _plan(after, zone)
        rehearsals.require(after, zone, the_plan)
        published = _published(before, zone)
        for item in _differences(_described(published or ()), _described(the_plan)):
            items.setdefault((item.key, item.lines), item)
        if published is not None:
            disrupted |= dict.fromkeys(actions(published, the_plan))
    worst_first = tuple(sorted(disrupted, key=lambda action: -action.disruption))
    return GroupDiff(after.group.name, tuple(items.values()), worst_first)


def _plan(manifest: Manifest, zone: str) -> Plan:
    return plan(manifest, sample_facts(zone=zone, region=manifest.cluster.region))


def _published(manifest: Manifest | None, zone: str) -> Plan | None:
    if manifest is None or zone not in manifest.group.zones:
        return None
    try:
        return _plan(manifest, zone)
    except Invalid:  # by the rules of a newer bootwright; whoever publishes its repair must not be stopped by it
        return None


def _described(the_plan: Iterable[Resource]) -> dict[str, tuple[str, ...]]:
    return {description.key: description.lines for description in (resource.describe() for resource in the_plan)}


def _differences(old: dict[str, tuple[str, ...]], new: dict[str, tuple[str, ...]]) -> list[ItemDiff]:
    items = []
    for key in [*new, *(key for key in old if key not in new)]:
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        kind: Literal["add", "change", "remove"] = "add" if before is None else "remove" if after is None else "change"
        items.append(ItemDiff(key, kind, _diff(before or (), after or ())))
    return items


def _diff(before: tuple[str, ...], after: tuple[str, ...]) -> tuple[str, ...]:
    if not before and after:  # most of what a new group shows; the same lines without a search for the likeliest change
        size = "+1" if len(after) == 1 else f"+1,{len(after)}"
        return (f"@@ -0,0 {size} @@", *(f"+{line}" for line in after))
    return tuple(difflib.unified_diff(before, after, lineterm="", n=2))[2:]
