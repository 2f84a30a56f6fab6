"""`units.etcd_members.EtcdAdmin` over the gateway; the lock over etcd3."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, Self

from agent.aws.http import Timeouts
from agent.etcd.gateway import Gateway
from agent.etcd.gateway_errors import EtcdRefusal
from agent.etcd.maintenance import MemberStatus, member_status, version_of_cluster
from agent.etcd.wire import Document, number, parts, text, texts
from units.errors import Retryable
from units.etcd_members import ClusterView, Member

_ASK = Timeouts(connect=1.5, read=3.0, total=4.0)  # of each member; one that is cut off must not hold up the others


@dataclass(frozen=True, slots=True)
class EtcdClients:
    """How to reach a cluster: where, whom to trust, who we are. Both are paths of PEM files."""

    urls: tuple[str, ...]
    authorities: str = field(repr=False)
    credential: str = field(repr=False)

    def at(self, *urls: str) -> Self:
        return type(self)(urls, self.authorities, self.credential)

    def gateway(self) -> Gateway:
        return Gateway(self.urls, self.authorities, self.credential)


@dataclass(frozen=True, slots=True)
class Seen:
    """A member of the list, and what it said of itself."""

    member: Member
    status: MemberStatus | None


@dataclass(frozen=True, slots=True)
class Look:
    """The whole cluster at one moment. Not linearizable unless asked so."""

    cluster_id: int
    members: tuple[Seen, ...]

    @property
    def statuses(self) -> tuple[MemberStatus, ...]:
        return tuple(seen.status for seen in self.members if seen.status)

    @property
    def leader(self) -> int | None:
        """Whom the members of the newest term call their leader."""
        told = [status for status in self.statuses if status.leader]
        return max(told, key=lambda status: status.term).leader if told else None

    def view(self) -> ClusterView:
        return ClusterView(
            self.cluster_id,
            tuple(seen.member for seen in self.members),
            self.leader,
            version_of_cluster(self.statuses),
        )


class GatewayAdmin:
    """Implements `units.etcd_members.EtcdAdmin`."""

    def __init__(self, clients: EtcdClients, gateway: Gateway) -> None:
        self._clients = clients
        self._gateway = gateway

    def view(self) -> ClusterView:
        return look_at(self._clients, self._gateway, linearizable=True).view()

    def remove(self, member_id: int) -> None:
        try:
            self._gateway.call("/v3/cluster/member/remove", {"ID": str(member_id)})
        except EtcdRefusal as error:
            if error.code != "etcd-member-not-found":
                raise

    def add_learner(self, peer_url: str) -> int:
        try:
            answer = self._gateway.call("/v3/cluster/member/add", {"peerURLs": [peer_url], "isLearner": True})
        except EtcdRefusal as error:
            known = self._known(peer_url) if error.code == "etcd-member-exists" else None
            if known is None:
                raise
            return known
        added = answer.get("member", {})
        return number(added, "ID")

    def promote(self, member_id: int) -> None:
        try:
            self._gateway.call("/v3/cluster/member/promote", {"ID": str(member_id)})
        except EtcdRefusal as error:
            if error.code != "etcd-not-a-learner":
                raise

    def snapshot(self, file: BinaryIO) -> int:
        from agent.etcd.keys import read_snapshot

        status = member_status(self._gateway)
        return read_snapshot(self._clients, file, expected_bytes=status.database_bytes)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        from agent.etcd.keys import Keys

        with Keys(self._clients) as keys, keys.locked(name):
            yield

    def _known(self, peer_url: str) -> int | None:
        found = self._gateway.call("/v3/cluster/member/list", {"linearizable": True})
        return next((number(one, "ID") for one in parts(found, "members") if peer_url in texts(one, "peerURLs")), None)


def look_at(clients: EtcdClients, gateway: Gateway, *, linearizable: bool) -> Look:
    """The member list, and what each member says, asked at once. Raises only when nobody has a list.

    A member list that is not linearizable is what one member believes: good for a screen, not for a decision. An
    `etcdctl member list` through a learner fails, so does this: another endpoint is asked by the caller.
    """
    answer = gateway.call("/v3/cluster/member/list", {"linearizable": linearizable})
    listed = parts(answer, "members")
    if not listed:
        raise Retryable("etcd-answer-unreadable", "etcd listed no members")
    with ThreadPoolExecutor(max_workers=len(listed)) as pool:
        members = tuple(pool.map(lambda one: _seen(clients, one), listed))
    return Look(number(answer.get("header", {}), "cluster_id"), members)


def versions_at(clients: EtcdClients) -> tuple[str, ...]:
    """What each endpoint runs; those that do not answer are left out. Says nothing of quorum or membership."""
    if not clients.urls:
        return ()
    with ThreadPoolExecutor(max_workers=len(clients.urls)) as pool:
        asked = pool.map(lambda url: _status(clients, (url,)), clients.urls)
        return tuple(status.version for status, _ in asked if status and status.version)


def _seen(clients: EtcdClients, listed: Document) -> Seen:
    urls = texts(listed, "clientURLs")
    status, detail = _status(clients, urls)
    if status and status.member_id != number(listed, "ID"):
        detail, status = f"another member answers at {urls[0]}: {status.member_id:x}", None
    if status:
        detail = "; ".join(status.errors) or ("" if status.leader else "knows no leader")
    member = Member(
        id=number(listed, "ID"),
        name=text(listed, "name"),
        peer_urls=texts(listed, "peerURLs"),
        client_urls=urls,
        learner=bool(listed.get("isLearner", False)),
        healthy=status is not None and not detail,
        detail=detail,
    )
    return Seen(member, status)


def _status(clients: EtcdClients, urls: Sequence[str]) -> tuple[MemberStatus | None, str]:
    if not urls:
        return None, "has not started yet"
    try:
        with clients.at(*urls).gateway() as gateway:
            return member_status(gateway, timeouts=_ASK), ""
    except Retryable as error:
        return None, error.message
