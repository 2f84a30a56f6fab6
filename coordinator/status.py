"""`coordinator status`: what the nodes say of themselves. Nodes wrote all of it: it is only displayed."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from coordinator.layout import STATUS
from coordinator.store import Listed, Store
from units.errors import Invalid
from units.expiry import Expiring, expiring, life_left
from units.status import MAX_BYTES, NodeStatus, decode_status

MOST_NODES: Final = 5000
PARALLEL: Final = 16


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
    """Every node's newest word, ordered by group and instance."""
    listed = list(islice((item for item in store.list(STATUS) if item.key.endswith(".json")), MOST_NODES + 1))
    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        nodes = [node for node in pool.map(lambda item: _read(store, item), listed[:MOST_NODES]) if node]
    nodes.sort(key=lambda node: (node.status.group if node.status else "~", node.instance_id))
    return Fleet(tuple(nodes), len(listed) > MOST_NODES)


def _read(store: Store, item: Listed) -> SeenNode | None:
    instance_id = item.key.removeprefix(STATUS).removesuffix(".json")
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
