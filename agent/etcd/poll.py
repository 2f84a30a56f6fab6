"""At every poll of a control-plane node: does the record still name the generation that this member serves?

A restore is begun by rewriting the record, so a node must look there. One small GET for each etcd cluster of this
machine, and nothing on workers. With as few imports as `agent.quick_poll`, which calls it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from agent.aws.s3 import Store
from agent.aws.s3_errors import NoSuchKey

MOUNTS = Path("/var/lib/etcd")
_RECORD_BYTES = 64 * 1024


def generation_changed(store: Store, prefix: str, *, mounts: Path = MOUNTS) -> bool:
    """`prefix` ends with a slash. Raises what the store raises; a record that is gone or unreadable is the whole run's
    business, and no reason for one every minute.
    """
    for etcd, token in _served(mounts):
        try:
            found = store.get(f"{prefix}etcd/{etcd}/cluster.json", max_bytes=_RECORD_BYTES)
            record = json.loads(found.body or b"")
        except (NoSuchKey, ValueError):
            continue
        if isinstance(record, dict) and record.get("token") != token:
            return True
    return False


def _served(mounts: Path) -> Iterator[tuple[str, str]]:
    """What `units.etcd_generation` noted on each volume: the token that the cluster held."""
    for path in sorted(mounts.glob("*/.generation")):
        yield path.parent.name, path.read_text(errors="replace").strip()
