"""An etcd cluster as its own member list tells it, and the Protocol of whoever may change that list.

`agent` implements the Protocols over the network, `units.memory` in memory. What to do with a view is decided in
`units.etcd_replacement`.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from units.errors import Fatal


def quorum(voters: int) -> int:
    """How many of so many voters must agree."""
    return voters // 2 + 1


@dataclass(frozen=True, slots=True)
class Member:
    id: int
    name: str  # empty until it has started for the first time
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...] = ()  # empty until it has started for the first time
    learner: bool = False
    healthy: bool = False  # it answered Status itself, within the deadline, knew a leader and named no error
    detail: str = ""  # what it said, or why it could not be asked; for people

    @property
    def started(self) -> bool:
        return self.name != ""


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A linearizable member list (a quorum stands behind it), and the health of each member as it was asked then."""

    cluster_id: int
    members: tuple[Member, ...]
    leader: int | None = None  # id of the leading member
    version: str = ""  # of the cluster: the lowest member's minor

    @property
    def voters(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if not member.learner)

    @property
    def learners(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.learner)

    @property
    def has_quorum(self) -> bool:
        return sum(member.healthy for member in self.voters) >= quorum(len(self.voters))

    def at(self, peer_url: str) -> Member | None:
        """The member with this peer URL: the one thing by which a member that never started can be known."""
        return next((member for member in self.members if peer_url in member.peer_urls), None)


class EtcdAdmin(Protocol):
    """A client of one cluster, through any member that answers. Every call has a deadline of its own.

    Errors are Retryable unless said otherwise, with the server's own words: `etcd-unreachable` (no endpoint answers),
    `etcd-no-quorum` (one answers, but the cluster cannot decide), `etcd-unhealthy-cluster` (it refuses a change of
    members while one of them is down or has just started), `etcd-too-many-learners`.
    """

    def view(self) -> ClusterView:
        """Linearizable: raises rather than tell what one member believes."""

    def remove(self, member_id: int) -> None:
        """Nothing happens if it is gone already."""

    def add_learner(self, peer_url: str) -> int:
        """The new member's id. If a member with this URL is there already, its id."""

    def promote(self, member_id: int) -> None:
        """Nothing happens if it votes already. Retryable `etcd-learner-behind` while it has not caught up."""

    def snapshot(self, file: BinaryIO) -> int:
        """The database with its sha256 trailer, unchecked, from one member; the number of bytes written."""

    def locked(self, name: str) -> AbstractContextManager[None]:
        """One holder of `name` in the cluster, by a lease that ends with its holder.

        Retryable `etcd-locked` at once, which names the holder, if somebody else has it.
        """


class EtcdAccess(Protocol):
    """How a machine reaches etcd clusters (`Host.etcd`); a learner or a member without data asks the others."""

    def admin(self, etcd: str, client_urls: Sequence[str]) -> AbstractContextManager[EtcdAdmin]:
        """Makes no call by itself. `client_urls` are tried in order."""

    def backup(self, etcd: str, client_urls: Sequence[str], reason: str, *, young: float = 0.0) -> str:
        """Take a snapshot, prove it whole, store it; the backup's name. Raises if there is any doubt about it.

        `young`: a backup of this generation that is at most so many seconds old is as good as another.
        """

    def versions(self, etcd: str, client_urls: Sequence[str]) -> tuple[str, ...]:
        """`3.5.16` of each member that answers, all asked at once, within seconds. Those that do not are left out."""


class NoEtcd:
    """What a machine without etcd has for `EtcdAccess`."""

    def admin(self, etcd: str, client_urls: Sequence[str]) -> AbstractContextManager[EtcdAdmin]:
        raise self._refusal(etcd, client_urls)

    def backup(self, etcd: str, client_urls: Sequence[str], reason: str, *, young: float = 0.0) -> str:
        raise self._refusal(etcd, client_urls, reason, young)

    def versions(self, etcd: str, client_urls: Sequence[str]) -> tuple[str, ...]:
        """A machine without a client cannot be told otherwise by anybody."""
        del etcd, client_urls
        return ()

    def _refusal(self, etcd: str, *_asked: object) -> Fatal:
        return Fatal("no-etcd", f"this machine has no client for etcd {etcd!r}")
