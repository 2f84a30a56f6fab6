"""Where the other members of an etcd cluster are: what each holder of a volume writes of itself, and names from that.

Hints for name resolution and nothing else: who may begin or join a cluster is decided on the bootstrap record and the
volumes (`units.bootstrap_record`). With few imports, because a poll reads them every minute.
"""

import ipaddress
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields

RECORD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PeerRecord:
    """`etcd/NAME/members/MEMBER.json`: who holds the member's volume, as of `at`."""

    instance: str
    address: str
    volume: str
    at: str  # RFC 3339; for people, nothing is decided on it

    def encode(self) -> bytes:
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    def same_place(self, other: "PeerRecord | None") -> bool:
        return other is not None and (self.instance, self.address, self.volume) == (
            other.instance,
            other.address,
            other.volume,
        )


def decode_peer(content: bytes) -> PeerRecord | None:
    """None for anything that is no such record: it ends up in /etc/hosts, so the address must be one."""
    try:
        document = json.loads(content)
        record = PeerRecord(**{field.name: document[field.name] for field in fields(PeerRecord)})
        if not all(isinstance(value, str) for value in asdict(record).values()):
            return None
        ipaddress.ip_address(record.address)
    except (ValueError, KeyError, TypeError):
        return None
    return record


def peer_key(etcd: str, member: str) -> str:
    return f"etcd/{etcd}/members/{member}.json"


@dataclass(frozen=True, slots=True)
class PeerNames:
    """The members of one etcd cluster that run on other machines, and how each is called there."""

    etcd: str
    names: tuple[tuple[str, str], ...]  # member, DNS name

    @property
    def block(self) -> str:
        """The name of the block in /etc/hosts."""
        return f"etcd-{self.etcd}"

    def lines(self, found: Mapping[str, str], now: Iterable[str]) -> tuple[str, ...]:
        """`found` is member -> address. A member that is not in it keeps the line it has `now`, if it has one."""
        kept = {name: address for address, _, name in (line.partition(" ") for line in now)}
        known = ((found.get(member) or kept.get(name), name) for member, name in self.names)
        return tuple(f"{address} {name}" for address, name in known if address)

    def encode(self) -> bytes:
        return (json.dumps(asdict(self), sort_keys=True) + "\n").encode()


def decode_names(content: bytes) -> PeerNames | None:
    try:
        document = json.loads(content)
        return PeerNames(str(document["etcd"]), tuple((str(member), str(name)) for member, name in document["names"]))
    except (ValueError, KeyError, TypeError):
        return None
