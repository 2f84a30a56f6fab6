"""The other members' names: what a holder of a volume tells, and what the others make of it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.units.etcd_member import THREE, member
from units.converge import converge
from units.errors import Retryable
from units.etcd_peers import EtcdPeers, note_path
from units.host import Record
from units.membership import HEALTH_SECONDS, EtcdEstablished
from units.memory import MemoryRecords
from units.peer_names import PeerNames, PeerRecord, decode_names, decode_peer, peer_key
from units.plan import Plan

DOMAIN = "etcd-main.internal.prod.example.com"
ADDRESSES = {"a": "10.99.0.10", "b": "10.99.1.10", "c": "10.99.2.10"}


def peers_of(name: str, *, address: str = "") -> EtcdPeers:
    others = tuple((other, f"{other}.{DOMAIN}") for other in THREE if other != name)
    return EtcdPeers(member(name, THREE).claim, PeerNames("main", others), f"i-{name}", address or ADDRESSES[name])


class Node:
    """One control-plane machine with its own part of the plan."""

    def __init__(self, name: str, records: MemoryRecords, *, address: str = "") -> None:
        self.peers = peers_of(name, address=address)
        self.member = member(name, THREE, records)
        self.host = self.member.machine.host

    def run(self) -> list[str]:
        report = converge(Plan((self.peers,)), self.host)
        assert report.failure is None, report.failure
        return [outcome.key for outcome in report.changed]

    def hosts(self) -> list[str]:
        state = self.member.machine.files.entries.get("/etc/hosts")
        text = state.content.decode() if state and state.content else ""
        return [line for line in text.splitlines() if line[0] != "#"]


def test_each_learns_of_the_others_as_they_come_and_a_second_run_changes_nothing() -> None:
    records = MemoryRecords()
    a, b, c = (Node(name, records) for name in THREE)
    for node in (a, b, c, a, b):
        assert node.run() == ["etcd-peers:main"]
    for node in (a, b, c):
        assert node.run() == []
    assert a.hosts() == [f"10.99.1.10 b.{DOMAIN}", f"10.99.2.10 c.{DOMAIN}"]
    assert c.hosts() == [f"10.99.0.10 a.{DOMAIN}", f"10.99.1.10 b.{DOMAIN}"]
    told = json.loads(records.objects["etcd/main/members/b.json"].content)
    assert told == {
        "instance": "i-b",
        "address": "10.99.1.10",
        "volume": "vol-b",
        "at": "2026-01-01T00:00:00+00:00",
    }


def test_a_member_that_moved_is_found_at_its_new_address() -> None:
    records = MemoryRecords()
    a, b = Node("a", records), Node("b", records)
    b.run(), a.run()
    Node("b", records, address="10.99.1.77").run()
    a.run()
    assert a.hosts() == [f"10.99.1.77 b.{DOMAIN}"]


def test_a_store_that_cannot_be_reached_leaves_the_names_that_are_known() -> None:
    records = MemoryRecords()
    b, a = Node("b", records), Node("a", records)
    b.run(), a.run()

    def unreachable(_key: str) -> Record | None:
        raise Retryable("s3-unreachable", "no answer")

    a.member.machine.records.get = unreachable  # type: ignore[method-assign]
    a.member.machine.files.remove(note_path("main"))
    assert a.run() == ["etcd-peers:main"]
    assert a.hosts() == [f"10.99.1.10 b.{DOMAIN}"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"instance": "i", "address": "10.0.0.1", "volume": "v"}',
        b'{"instance": "i", "address": 7, "volume": "v", "at": "x"}',
        b'{"instance": "i", "address": "10.0.0.1 evil", "volume": "v", "at": "x"}',
        b'{"instance": "i", "address": "example.com", "volume": "v", "at": "x"}',
        b'{"instance": "i", "address": "10.0.0.1\\n1.2.3.4 other", "volume": "v", "at": "x"}',
    ],
)
def test_what_is_no_record_names_nobody(content: bytes) -> None:
    assert decode_peer(content) is None
    records = MemoryRecords()
    records.objects[peer_key("main", "b")] = Record(content, "etag")
    a = Node("a", records)
    a.run()
    assert a.hosts() == []
    Node("b", records).run()
    a.run()
    assert a.hosts() == [f"10.99.1.10 b.{DOMAIN}"]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_record_or_nothing(content: bytes) -> None:
    found = decode_peer(content)
    assert found is None or decode_peer(found.encode()) == found
    decode_names(content)


def test_a_record_and_a_note_read_back_as_they_were_written() -> None:
    record = PeerRecord("i-1", "2001:db8::1", "vol-1", "2026-01-01T00:00:00+00:00")
    assert decode_peer(record.encode()) == record
    names = PeerNames("main", (("a", "x"), ("b", "y")))
    assert decode_names(names.encode()) == names


def test_while_etcd_is_waited_for_names_that_come_late_are_put_in() -> None:
    """Two machines boot at once: neither knows the other when its plan passes the names."""
    records = MemoryRecords()
    a, b = Node("a", records), Node("b", records)
    a.run()
    assert a.hosts() == []
    established = a.member.established
    waiting = EtcdEstablished(
        established.claim, established.path, established.environment, established.health_url, peers=a.peers
    )
    a.member.ready = False
    a.member.decide()
    b.run()
    with pytest.raises(Retryable, match="not ready"):
        waiting.apply(a.host)
    assert a.hosts() == [f"10.99.1.10 b.{DOMAIN}"]
    assert a.member.machine.clock.ticks == HEALTH_SECONDS
