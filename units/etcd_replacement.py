"""The way back into a cluster for a member whose data is gone: the next step, one at a time, from what is known now.

remove, add as a learner, start with `existing`, promote: the only way that etcd survives (etcd-pki.md 2.3 B and C,
2.5). Nothing here forms a cluster: a new one is no answer to lost data. Every step is decided anew on the record and
the cluster's own list of members, so that a power cut between two of them needs no memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from units.bootstrap_record import BootstrapRecord, record_key
from units.etcd_members import ClusterView, Member, quorum
from units.volume_choice import Refuse, Wait

AUTOMATIC_FROM = 3  # members; below that no majority is left to say what the data was


@dataclass(frozen=True, slots=True)
class Lost:
    """A member of an established cluster whose volume holds no data."""

    etcd: str
    member: str
    volume_id: str
    peer_urls: Mapping[str, str]  # member -> URL, of all that the manifest names

    @property
    def peer_url(self) -> str:
        return self.peer_urls[self.member]


@dataclass(frozen=True, slots=True)
class RecordVolume:
    """Write that this member begins anew on this volume, with If-Match; a backup was taken before."""

    record: BootstrapRecord


@dataclass(frozen=True, slots=True)
class Remove:
    member_id: int


@dataclass(frozen=True, slots=True)
class AddLearner:
    peer_url: str


@dataclass(frozen=True, slots=True)
class StartExisting:
    """The cluster waits for a learner at this member's URL that has never started."""


@dataclass(frozen=True, slots=True)
class WaitForPerson:
    """A person must act, and does so elsewhere: with the coordinator, or in EC2. So the member asks again by itself,
    and goes on without anybody logging in on its machine (at exit 3 systemd would not start the agent again).
    """

    code: str
    reason: str
    remedy: str


Step = RecordVolume | Remove | AddLearner | StartExisting | Wait | WaitForPerson | Refuse


def next_step(lost: Lost, record: BootstrapRecord, view: ClusterView) -> Step:
    """What to do next; after each step, look again. `view` is linearizable: a quorum stands behind it."""
    if stop := next(_obstacles(lost, record, view), None):
        return stop
    if record.replacing != lost.member or record.volumes.get(lost.member) != lost.volume_id:
        return RecordVolume(record.with_replacement(lost.member, lost.volume_id))
    mine = view.at(lost.peer_url)
    if mine is None:
        return AddLearner(lost.peer_url)
    if mine.learner and not mine.started:
        return StartExisting()
    return Remove(mine.id) if not mine.healthy and _keeps_quorum_without(mine, view) else _would_lose_quorum(lost, view)


def may_replace(lost: Lost, record: BootstrapRecord) -> WaitForPerson | None:
    """What forbids it, whatever the cluster says of itself; asked before anybody is."""
    if len(lost.peer_urls) < AUTOMATIC_FROM:
        return WaitForPerson(
            "etcd-volume-lost",
            f"the etcd cluster {lost.etcd!r} is established, but {_where(lost, record)}: with {len(lost.peer_urls)} "
            f"member{'s' if len(lost.peer_urls) > 1 else ''} no majority is left that could take a new one in",
            f"this is a lost volume, not a new cluster: attach the right volume, or {_restore(lost.etcd)}",
        )
    if record.volumes.get(lost.member) == lost.volume_id and lost.member in record.started:
        return WaitForPerson(
            "etcd-volume-lost",
            f"the etcd cluster {lost.etcd!r} is established, but {_where(lost, record)}, on which it was once",
            "find out what emptied it. Then replace the volume: delete it (`aws ec2 delete-volume --volume-id "
            f"{lost.volume_id}`) and create an empty one with the same tags; the member joins again by itself",
        )
    return None


def _obstacles(lost: Lost, record: BootstrapRecord, view: ClusterView) -> Iterator[Refuse | Wait | WaitForPerson]:
    if stop := may_replace(lost, record):
        yield stop
    if record.state != "established":
        yield Wait("etcd-not-established", f"etcd {lost.etcd!r} is {record.state}: nobody is replaced meanwhile")
    if record.replacing not in (None, lost.member):
        yield Wait(
            "etcd-replacement-waiting",
            f"member {record.replacing!r} of etcd {lost.etcd!r} is being replaced; one at a time",
        )
    if strangers := [member for member in view.members if not set(member.peer_urls) & set(lost.peer_urls.values())]:
        yield Refuse(
            "etcd-foreign-member",
            f"etcd {lost.etcd!r} has members that the manifest does not name: {_described(strangers)}",
            "`agent etcd status`; remove them with `etcdctl member remove`, or correct the cluster spec",
        )
    if not view.has_quorum:
        yield Wait(
            "etcd-no-quorum",
            f"etcd {lost.etcd!r} has no majority of healthy members: {_described(view.members)}",
        )
    mine = view.at(lost.peer_url)
    if mine is not None and mine.healthy:
        yield Refuse(
            "etcd-member-alive",
            f"member {lost.member!r} of etcd {lost.etcd!r} is alive on another machine, while {lost.volume_id} here "
            "holds no data: a member is on one volume at a time",
            f"see which volumes have the tag k8s.io/etcd/{lost.etcd} = {lost.member}/..., and remove it from the wrong "
            f"one; the record {record_key(lost.etcd)} says {record.volumes.get(lost.member, 'none')}",
        )
    if others := [member for member in view.learners if member is not mine]:
        yield Wait("etcd-learner-waiting", f"a learner is on its way already: {_described(others)}")
    present = {url for member in view.members for url in member.peer_urls}
    absent = [name for name, url in lost.peer_urls.items() if url not in present and name != lost.member]
    if absent:
        yield Wait("etcd-member-absent", f"etcd {lost.etcd!r} is without {', '.join(absent)} already; one at a time")


def _keeps_quorum_without(mine: Member, view: ClusterView) -> bool:
    left = [member for member in view.voters if member is not mine]
    return sum(member.healthy for member in left) >= quorum(len(left))


def _would_lose_quorum(lost: Lost, view: ClusterView) -> Wait:
    return Wait(
        "etcd-no-quorum", f"without member {lost.member!r} etcd {lost.etcd!r} has no quorum: {_described(view.members)}"
    )


def restore_remedy(etcd: str) -> str:
    """For whoever waits for a quorum that may never come back."""
    return f"if the volumes of the other members are lost too, {_restore(etcd)}"


def _restore(etcd: str) -> str:
    return (
        f"restore the last backup: `coordinator etcd restore --etcd {etcd} --backup latest` shows what would happen, "
        "--yes does it, and this member then follows by itself"
    )


def _where(lost: Lost, record: BootstrapRecord) -> str:
    known = record.volumes.get(lost.member, lost.volume_id)
    elsewhere = "" if known == lost.volume_id else f" (its data is on {known})"
    return f"{lost.volume_id} of member {lost.member!r} holds no data{elsewhere}"


def _described(members: Sequence[Member]) -> str:
    return ", ".join(_one(member) for member in members) or "none"


def _one(member: Member) -> str:
    kind = "learner" if member.learner else "voter"
    health = "healthy" if member.healthy else member.detail or "not healthy"
    return f"{member.name or member.peer_urls[0]} ({kind}, {health})"
