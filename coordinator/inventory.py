"""The fleet as the coordinator counts with it: one small row per node, read again only where the store has news.

A status object is 20 kB, a row 2: ten thousand nodes fit into the memory of a shell's neighbour. Nodes wrote all of
it, so a stolen node can say what it likes of itself, and nothing of another.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from coordinator.status import SeenNode, each_status, instance_of, status_objects
from coordinator.store import Listed, Store
from units.expiry import Expiring
from units.rollout import LiveNode
from units.status import Condition, EtcdState

# An idle node writes its status after its hourly run, a minute of timer and a run late. The desk's clock may be wrong
# by the quarter of an hour that S3 lets a signature be.
LIVES: Final = timedelta(minutes=90)
STALE: Final = timedelta(minutes=75)
MOST_ROWS: Final = 100_000
_GONE: Final = frozenset({"terminated"})
_MOST_CONDITIONS: Final = 6
_MOST_EXPIRING: Final = 3
_MOST_DRIFT: Final = 20
_LONGEST: Final = 600  # characters of a text that a node wrote

Departed = Callable[[Collection[str]], frozenset[str]]
"""Which of these instances are known to be gone for good, or stopped."""


def nobody(_instance_ids: Collection[str]) -> frozenset[str]:
    """Where nobody can be asked."""
    return frozenset()


@dataclass(frozen=True, slots=True)
class NodeRow:
    """What is kept of one status object. `problem`: why it cannot be read; then the rest is empty."""

    instance_id: str
    modified: datetime  # by the store's clock
    problem: str = ""
    group: str = ""
    role: str = ""
    zone: str = ""
    name: str = ""
    stage: str = ""
    waiting_for: str = ""
    serial: int = 0
    manifest: str = ""
    why: str = ""
    trust: str = ""
    converged: str = ""
    drift: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    days_left: int | None = None  # until its first certificate expires
    expiring: tuple[Expiring, ...] = ()  # the soonest
    expiring_count: int = 0
    expired: bool = False
    etcd: tuple[EtcdState, ...] = ()

    @property
    def ready(self) -> bool:
        return self.stage == "ready"

    @property
    def errors(self) -> tuple[Condition, ...]:
        return tuple(condition for condition in self.conditions if condition.severity == "error")

    @property
    def reason(self) -> str:
        """In one line, why it is not ready; what it waits for, if nothing is wrong."""
        if self.problem:
            return f"its status cannot be read: {self.problem}"
        if first := (*self.errors, *self.conditions)[:1]:
            return f"{first[0].code}: {first[0].message}"
        return f"waiting for {self.waiting_for}" if self.waiting_for else ""

    @property
    def remedy(self) -> str:
        return next((condition.remedy for condition in (*self.errors, *self.conditions) if condition.remedy), "")


def row_of(node: SeenNode, now: datetime) -> NodeRow:
    found = node.status
    if found is None:
        return NodeRow(node.instance_id, node.modified, node.problem[:_LONGEST])
    expiring = node.expiring(now)
    return NodeRow(
        instance_id=node.instance_id,
        modified=node.modified,
        group=found.group[:_LONGEST],
        role=found.role[:_LONGEST],
        zone=found.zone[:_LONGEST],
        name=found.node_name[:_LONGEST],
        stage=found.stage,
        waiting_for=found.waiting_for[:_LONGEST],
        serial=found.serial,
        manifest=found.manifest[:_LONGEST],
        why=found.why[:_LONGEST],
        trust=found.trust[:_LONGEST],
        converged=found.converged[:_LONGEST],
        drift=tuple(key[:_LONGEST] for key in found.drift[:_MOST_DRIFT]),
        conditions=tuple(map(_shortened, found.conditions[:_MOST_CONDITIONS])),
        days_left=node.days_left(now),
        expiring=expiring[:_MOST_EXPIRING],
        expiring_count=len(expiring),
        expired=any(one.left.expired for one in expiring),
        etcd=found.etcd[:2],
    )


def _shortened(condition: Condition) -> Condition:
    if max(len(condition.message), len(condition.remedy), len(condition.code)) <= _LONGEST:
        return condition
    texts = {"code": condition.code, "message": condition.message, "remedy": condition.remedy}
    return condition.model_copy(update={name: text[:_LONGEST] for name, text in texts.items()})


class Inventory:
    """Reads rows, and remembers them between two readings of one process."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._rows: dict[str, NodeRow] = {}
        self._sizes: dict[str, int] = {}

    def rows(self) -> tuple[NodeRow, ...]:
        """Every node's, in the order of their ids. Objects that are as they were are not read again."""
        now = self._clock()
        listed: dict[str, Listed] = {}
        for item in status_objects(self._store):
            listed[instance_of(item)] = item
            if len(listed) >= MOST_ROWS:
                break
        wanted = [item for name, item in listed.items() if not self._knows(name, item)]
        read = each_status(self._store, wanted, lambda node: row_of(node, now))
        for item, row in zip(wanted, read, strict=True):
            if row is None:
                listed.pop(instance_of(item))
            else:
                self._rows[row.instance_id], self._sizes[row.instance_id] = row, item.size
        self._rows = {name: self._rows[name] for name in listed}
        return tuple(self._rows.values())

    def _knows(self, name: str, item: Listed) -> bool:
        row = self._rows.get(name)
        return row is not None and row.modified == item.modified and self._sizes[name] == item.size


def live_nodes(rows: Iterable[NodeRow], since: datetime) -> Mapping[str, tuple[LiveNode, ...]]:
    """By group, whoever has spoken after `since` and did not say that it ends."""
    found: dict[str, list[LiveNode]] = {}
    for row in rows:
        if row.modified >= since and not row.problem and row.stage not in _GONE:
            found.setdefault(row.group, []).append(LiveNode(row.instance_id, row.zone))
    return {group: tuple(nodes) for group, nodes in found.items()}


def without(
    nodes: tuple[LiveNode, ...], departed: Departed, asked: Collection[str] | None = None
) -> tuple[LiveNode, ...]:
    """The nodes of which nobody knows that they are gone. `asked`: only these are asked about."""
    wanted = [node.instance_id for node in nodes if asked is None or node.instance_id in asked]
    gone = departed(wanted) if wanted else frozenset()
    return tuple(node for node in nodes if node.instance_id not in gone)
