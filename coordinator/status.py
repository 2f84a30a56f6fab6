"""`coordinator status`: what the nodes say of themselves. Nodes wrote all of it: it is only displayed."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final, TypeVar

from coordinator.layout import STATUS
from coordinator.store import Listed, Store
from units.errors import Invalid
from units.expiry import Expiring, expiring, life_left
from units.status import MAX_BYTES, NodeStatus, decode_status

MOST_NODES: Final = 5000
PARALLEL: Final = 16
AHEAD: Final = 4 * PARALLEL  # objects asked for before the first of them is taken: bounds what lies in memory

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SeenNode:
    """One status object. `modified` is the store's clock, so a node with a wrong clock still shows its age."""

    instance_id: str
    modified: datetime
    status: NodeStatus | None
    problem: str = ""  # why there is no status

    def expiring(self, now: datetime) -> tuple[Expiring, ...]:
        """What ends soon as of now, however old the node's word is: a silent node's certificates go on ageing."""
        return expiring(self.status.certificates, now) if self.status else ()

    def days_left(self, now: datetime) -> int | None:
        """Until its first certificate expires."""
        certificates = self.status.certificates if self.status else ()
        return min((life_left(certificate, now).days for certificate in certificates), default=None)


@dataclass(frozen=True, slots=True)
class Fleet:
    nodes: tuple[SeenNode, ...]
    truncated: bool


def read_fleet(store: Store) -> Fleet:
    """Every node's newest word, ordered by group and instance. Whole statuses: 20 kB each."""
    listed = list(islice(status_objects(store), MOST_NODES + 1))
    nodes = [node for node in each_status(store, listed[:MOST_NODES], lambda node: node) if node]
    nodes.sort(key=lambda node: (node.status.group if node.status else "~", node.instance_id))
    return Fleet(tuple(nodes), len(listed) > MOST_NODES)


def status_objects(store: Store) -> Iterator[Listed]:
    return (item for item in store.list(STATUS) if item.key.endswith(".json"))


def instance_of(item: Listed) -> str:
    return item.key.removeprefix(STATUS).removesuffix(".json")


def each_status(store: Store, items: Iterable[Listed], keep: Callable[[SeenNode], T]) -> Iterator[T | None]:
    """What `keep` makes of each, in the order of `items`; None for one that was deleted since it was listed.

    Read in parallel; at most `AHEAD` of them are in memory, and of each only what `keep` returned.
    """

    def taken(item: Listed) -> T | None:
        node = _read(store, item)
        return None if node is None else keep(node)

    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        flying: deque[Future[T | None]] = deque()
        for item in items:
            flying.append(pool.submit(taken, item))
            if len(flying) >= AHEAD:
                yield flying.popleft().result()
        while flying:
            yield flying.popleft().result()


def _read(store: Store, item: Listed) -> SeenNode | None:
    instance_id = instance_of(item)
    if item.size > MAX_BYTES:
        return SeenNode(instance_id, item.modified, None, f"{item.size} bytes; at most {MAX_BYTES} are read")
    stored = store.get(item.key, limit=MAX_BYTES)
    if stored is None:
        return None  # deleted since it was listed
    try:
        status = decode_status(stored.body)
    except Invalid as error:
        return SeenNode(instance_id, item.modified, None, str(error))
    if status.instance_id != instance_id:
        # IAM lets a node write its own name only; a wrong name inside would show one node as another.
        return SeenNode(instance_id, item.modified, None, f"claims to be {status.instance_id[:40]}")
    return SeenNode(instance_id, item.modified, status)
