"""The fleet in numbers, group by group: what `coordinator status` shows first. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from coordinator.inventory import LIVES, NodeRow
from coordinator.state import PublishedGroup

Runs = Literal["stable", "candidate", "other", ""]


@dataclass(slots=True)
class GroupSum:
    """Counts of nodes. `stable` and `candidate`: how many run that manifest of their group's release."""

    group: str
    nodes: int = 0
    ready: int = 0
    silent: int = 0
    stable: int = 0
    candidate: int = 0
    other: int = 0
    drifted: int = 0
    expiring: int = 0
    serial: int | None = None  # published
    rollout: bool = False
    serials: dict[int, int] = field(default_factory=dict)  # nodes by the serial that they have

    @property
    def document(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "nodes": self.nodes,
            "ready": self.ready,
            "silent": self.silent,
            "serial": self.serial,
            "rollout": self.rollout,
            "on_stable": self.stable,
            "on_candidate": self.candidate,
            "on_another": self.other,
            "drifted": self.drifted,
            "expiring": self.expiring,
            "serials": {str(serial): count for serial, count in sorted(self.serials.items())},
        }


def runs(row: NodeRow, published: Mapping[str, PublishedGroup]) -> Runs:
    """Which manifest of its group's release a node runs; empty if it or the release does not tell."""
    group = published.get(row.group)
    if group is None or not row.manifest:
        return ""
    if row.manifest == group.manifest_sha256:
        return "stable"
    return "candidate" if row.manifest == group.candidate_sha256 else "other"


def sums(rows: Iterable[NodeRow], published: Mapping[str, PublishedGroup], now: datetime) -> tuple[GroupSum, ...]:
    """Every published group, also one without nodes; then whatever else nodes say of themselves."""
    found = {
        name: GroupSum(name, serial=group.serial, rollout=bool(group.candidate_sha256))
        for name, group in published.items()
    }
    for row in rows:
        one = found.setdefault(row.group, GroupSum(row.group))
        silent, which = now - row.modified > LIVES, runs(row, published)
        one.nodes += 1
        one.silent += silent
        one.ready += row.ready and not silent
        one.stable += which == "stable"
        one.candidate += which == "candidate"
        one.other += which == "other"
        one.drifted += bool(row.drift)
        one.expiring += bool(row.expiring)
        one.serials[row.serial] = one.serials.get(row.serial, 0) + 1
    return tuple(found.values())


def is_fine(row: NodeRow, published: Mapping[str, PublishedGroup], now: datetime) -> bool:
    """Nothing about it that a person should read."""
    wrong = row.problem or row.conditions or row.drift or row.expiring or not row.ready
    return not wrong and now - row.modified <= LIVES and runs(row, published) != "other"
