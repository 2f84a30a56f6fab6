"""What each poll does for the names of the other etcd members."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.aws.s3 import Object
from agent.aws.s3_errors import NoSuchKey
from agent.etcd_peers import refresh
from units.errors import BootwrightError, Retryable
from units.peer_names import PeerNames, PeerRecord, peer_key

NAMES = PeerNames("main", (("b", "b.etcd-main.internal.x"), ("c", "c.etcd-main.internal.x")))


@dataclass
class StoreDouble:
    objects: dict[str, bytes] = field(default_factory=dict)
    error: BootwrightError | None = None
    asked: list[str] = field(default_factory=list)

    def get(self, key: str, *, max_bytes: int, if_none_match: str | None = None) -> Object:
        del max_bytes, if_none_match
        self.asked.append(key)
        if self.error:
            raise self.error
        if key not in self.objects:
            raise NoSuchKey("s3-no-such-key", key)
        return Object(self.objects[key], "etag")

    def told(self, member: str, address: str) -> None:
        record = PeerRecord(f"i-{member}", address, f"vol-{member}", "2026-01-01T00:00:00Z")
        self.objects[f"prod/{peer_key('main', member)}"] = record.encode()


@dataclass
class Machine:
    folder: Path
    store: StoreDouble = field(default_factory=StoreDouble)

    def poll(self) -> bool:
        return refresh(self.store, "prod/", notes=self.folder, hosts=self.folder / "hosts")

    @property
    def hosts(self) -> str:
        return (self.folder / "hosts").read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n")
    (tmp_path / "etcd-peers-main.json").write_bytes(NAMES.encode())
    return Machine(tmp_path)


def test_a_machine_that_follows_nobody_asks_for_nothing(machine: Machine) -> None:
    (machine.folder / "etcd-peers-main.json").unlink()
    assert not machine.poll()
    assert machine.store.asked == []


def test_a_member_that_moved_is_named_at_the_next_poll_with_one_request_for_each_other_member(machine: Machine) -> None:
    machine.store.told("b", "10.99.1.10")
    assert machine.poll()
    assert "10.99.1.10 b.etcd-main.internal.x\n" in machine.hosts
    assert not machine.poll()
    machine.store.told("b", "10.99.1.77")
    machine.store.asked.clear()
    assert machine.poll()
    assert machine.store.asked == ["prod/etcd/main/members/b.json", "prod/etcd/main/members/c.json"]
    assert "10.99.1.77 b.etcd-main.internal.x\n" in machine.hosts
    assert "10.99.1.10" not in machine.hosts
    assert machine.hosts.startswith("127.0.0.1 localhost\n")


def test_a_store_that_fails_is_asked_once_and_changes_nothing(machine: Machine) -> None:
    machine.store.told("b", "10.99.1.10")
    machine.poll()
    machine.store.asked.clear()
    machine.store.error = Retryable("s3-unreachable", "no answer")
    assert not machine.poll()
    assert len(machine.store.asked) == 1
    assert "10.99.1.10 b.etcd-main.internal.x\n" in machine.hosts


def test_a_damaged_note_or_record_is_as_good_as_none(machine: Machine) -> None:
    machine.store.objects["prod/etcd/main/members/b.json"] = b"{"
    assert not machine.poll()
    (machine.folder / "etcd-peers-main.json").write_bytes(b"{")
    assert not machine.poll()


def test_a_poll_pays_for_no_model_and_no_certificate() -> None:
    code = (
        "import sys, agent.etcd_peers; print([m for m in ('pydantic', 'cryptography', 'requests') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
