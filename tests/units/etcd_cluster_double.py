"""A double of an etcd cluster: what it does with its list of members, as measured in etcd-pki.md 2.3 and 2.5."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from units.errors import Retryable
from units.etcd_members import ClusterView, Member, quorum


def url(name: str) -> str:
    return f"https://{name}.etcd-main.internal.prod.example.com:2380"


@dataclass
class EtcdClusterDouble:
    """Implements EtcdAccess and EtcdAdmin. `before` is called ahead of every change: a test cuts the power there."""

    members: list[Member]
    changes: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda _change: None
    asked: list[tuple[str, ...]] = field(default_factory=list)
    next_id: int = 100
    runs: dict[str, str] = field(default_factory=dict)  # member -> its version; nobody tells if this is empty
    young: bool = False  # there is a backup that was taken just now
    behind: int = 0  # how many times a promotion is refused

    @classmethod
    def of(cls, *names: str) -> "EtcdClusterDouble":
        return cls([Member(number, name, (url(name),), healthy=True) for number, name in enumerate(names, 1)])

    def fell(self, *names: str) -> None:
        self.members = [replace(m, healthy=False, detail="down") if m.name in names else m for m in self.members]

    def start(self, name: str) -> None:
        """What `--initial-cluster-state=existing` on an empty directory does; a voter that forgot panics."""
        mine = self.at(name)
        assert mine.learner or not mine.started, "tocommit is out of range: this member forgot what it acknowledged"
        self._put(replace(mine, name=name, healthy=True))

    def at(self, name: str) -> Member:
        return next(member for member in self.members if url(name) in member.peer_urls)

    @contextmanager
    def admin(self, etcd: str, client_urls: Sequence[str]) -> Iterator["EtcdClusterDouble"]:
        assert etcd == "main"
        self.asked.append(tuple(client_urls))
        yield self

    def backup(self, etcd: str, client_urls: Sequence[str], reason: str, *, young: float = 0.0) -> str:
        if not (young and self.young):
            self._changes(f"backup {reason}")
        return "2026-01-01T00:00:00Z"

    def versions(self, etcd: str, client_urls: Sequence[str]) -> tuple[str, ...]:
        assert etcd == "main"
        asked = [one for one in self.members if one.healthy and any(f"//{one.name}." in url for url in client_urls)]
        return tuple(self.runs[one.name] for one in asked if one.name in self.runs)

    def view(self) -> ClusterView:
        found = ClusterView(1, tuple(self.members))
        if not found.has_quorum:
            raise Retryable("etcd-no-quorum", "etcdserver: request timed out")
        return found

    def remove(self, member_id: int) -> None:
        (gone,) = [member for member in self.members if member.id == member_id]
        left = [member for member in self.members if member is not gone and not member.learner]
        if not gone.learner and sum(member.healthy for member in left) < quorum(len(left)):
            raise Retryable("etcd-unhealthy-cluster", "etcdserver: re-configuration failed")
        self._changes(f"remove {gone.name or 'unstarted'}")
        self.members = [member for member in self.members if member is not gone]

    def add_learner(self, peer_url: str) -> int:
        if any(member.learner for member in self.members):
            raise Retryable("etcd-too-many-learners", "too many learner members in cluster")
        if not all(member.healthy for member in self.members):
            raise Retryable("etcd-unhealthy-cluster", "etcdserver: unhealthy cluster")
        self._changes("add")
        self.next_id += 1
        self.members.append(Member(self.next_id, "", (peer_url,), learner=True, detail="has not started yet"))
        return self.next_id

    def promote(self, member_id: int) -> None:
        (learner,) = [member for member in self.members if member.id == member_id]
        if not learner.healthy or self.behind > 0:
            self.behind -= 1
            raise Retryable("etcd-learner-behind", "can only promote a learner member which is in sync with leader")
        self._changes(f"promote {learner.name}")
        self._put(replace(learner, learner=False))

    def snapshot(self, file: BinaryIO) -> int:
        return file.write(b"")

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        assert name == "membership"
        self.changes.append("lock")
        try:
            yield
        finally:
            self.changes.append("unlock")

    def _put(self, changed: Member) -> None:
        self.members = [changed if member.id == changed.id else member for member in self.members]

    def _changes(self, change: str) -> None:
        self.before(change)
        self.changes.append(change)
