"""At every poll of a control-plane node with more than one etcd member: where are the others by now?

A member that moved is reached by its peers as soon as their /etc/hosts says so. Costs a small GET for each other
member, and nothing on machines without such members. The whole run does the same: `units.etcd_peers`.
"""

from collections.abc import Iterator
from pathlib import Path

from agent.aws.s3 import Store
from agent.aws.s3_errors import NoSuchKey
from agent.durable import read_bounded, write_durably
from units.errors import BootwrightError
from units.hosts_text import block_lines, with_block
from units.peer_names import RECORD_BYTES, PeerNames, decode_names, decode_peer, peer_key

NOTES = Path("/run/bootwright")
HOSTS = Path("/etc/hosts")
_MOST_HOSTS = 16 * 1024 * 1024


def refresh(store: Store, prefix: str, *, notes: Path = NOTES, hosts: Path = HOSTS) -> bool:
    """Whether /etc/hosts changed. Never raises for what the store does: names are hints, the next poll asks again.

    The store is asked nothing without such members; `prefix` ends with a slash.
    """
    followed = tuple(_followed(notes))
    if not followed:
        return False
    before = read_bounded(hosts, limit=_MOST_HOSTS) or b""
    text = before
    for names in followed:
        found = dict(_found(store, prefix, names))
        text = with_block(text, names.block, names.lines(found, block_lines(text, names.block)))
    if text == before:
        return False
    write_durably(hosts, text, mode=0o644)
    return True


def _followed(notes: Path) -> Iterator[PeerNames]:
    """What the last whole run of this boot noted."""
    for path in sorted(notes.glob("etcd-peers-*.json")):
        content = read_bounded(path, limit=RECORD_BYTES)
        names = decode_names(content) if content else None
        if names is not None:
            yield names


def _found(store: Store, prefix: str, names: PeerNames) -> Iterator[tuple[str, str]]:
    for member, _ in names.names:
        try:
            record = decode_peer(store.get(prefix + peer_key(names.etcd, member), max_bytes=RECORD_BYTES).body or b"")
        except NoSuchKey:
            continue
        except BootwrightError:
            return  # a store that fails once would be waited for again and again
        if record is not None:
            yield member, record.address
