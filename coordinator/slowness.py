"""The slowest phases of the fleet's boots, counted while the status objects stream by: memory does not grow with them.

Nodes wrote every number: what is no time of a boot is left out, and names beyond MOST_PHASES are counted as one.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from coordinator.status import SeenNode, each_status, status_objects
from coordinator.store import Store
from units.timeline import MOST_SPANS, measured

MOST_PHASES: Final = 400  # two roles have some hundred resources each, of which the longest are told
OTHERS: Final = "(other phases)"
LONGEST: Final = 86_400.0  # seconds; whoever says more has a broken clock, or bad intentions
_STEP: Final = math.log(1.05)  # a bucket is 5 % wide, and a percentile as exact
_LEAST: Final = 0.001


@dataclass(slots=True)
class PhaseTimes:
    """Seconds that one phase took, over many nodes. Percentiles are right to 5 %, the longest exactly."""

    name: str
    nodes: int = 0
    longest: float = 0.0
    slowest: str = ""  # the instance that had the longest
    _buckets: Counter[int] = field(default_factory=Counter)

    def add(self, seconds: float, instance_id: str) -> None:
        self.nodes += 1
        self._buckets[_bucket(seconds)] += 1
        if seconds > self.longest or not self.slowest:
            self.longest, self.slowest = seconds, instance_id

    def percentile(self, percent: int) -> float:
        """The least bucket's upper end that as many nodes are at or below; never more than the longest."""
        wanted, seen = math.ceil(self.nodes * percent / 100), 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(_LEAST * math.exp(bucket * _STEP), self.longest)
        return self.longest

    @property
    def document(self) -> dict[str, Any]:
        return {
            "phase": self.name,
            "nodes": self.nodes,
            "p50": round(self.percentile(50), 3),
            "p95": round(self.percentile(95), 3),
            "max": round(self.longest, 3),
            "slowest": self.slowest,
        }


class Slowness:
    """Phases by name. A phase that a node has twice counts twice."""

    def __init__(self) -> None:
        self._phases: dict[str, PhaseTimes] = {}
        self.nodes = 0
        self.without = 0  # nodes that tell no timeline

    def add(self, instance_id: str, phases: Iterable[tuple[str, float]]) -> None:
        self.nodes += 1
        told = False
        for name, seconds in phases:
            if math.isfinite(seconds) and 0 <= seconds <= LONGEST:
                told = True
                self._phase(name).add(seconds, instance_id)
        self.without += not told

    def slowest(self, most: int) -> tuple[PhaseTimes, ...]:
        """By what all but the slowest twentieth of the nodes need."""
        ordered = sorted(self._phases.values(), key=lambda one: (-one.percentile(95), -one.longest, one.name))
        return tuple(ordered[:most])

    def _phase(self, name: str) -> PhaseTimes:
        if name not in self._phases and len(self._phases) >= MOST_PHASES:
            name = OTHERS
        return self._phases.setdefault(name, PhaseTimes(name))


def read_slowness(store: Store, groups: Iterable[str] = ()) -> Slowness:
    """Of all nodes, or of those groups."""
    wanted, found = frozenset(groups), Slowness()
    for phases in each_status(store, status_objects(store), _phases_of):
        if phases is not None and (not wanted or phases.group in wanted):
            found.add(phases.instance_id, phases.measured)
    return found


@dataclass(frozen=True, slots=True)
class _Phases:
    instance_id: str
    group: str
    measured: tuple[tuple[str, float], ...]


def _phases_of(node: SeenNode) -> _Phases:
    status = node.status
    if status is None or status.timeline is None:
        return _Phases(node.instance_id, status.group if status else "", ())
    return _Phases(node.instance_id, status.group, measured(status.timeline)[: MOST_SPANS + 1])


def _bucket(seconds: float) -> int:
    return 0 if seconds <= _LEAST else math.ceil(math.log(seconds / _LEAST) / _STEP)
