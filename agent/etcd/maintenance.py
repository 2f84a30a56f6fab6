"""One member's own state, and the maintenance calls: each goes to exactly one member."""

from dataclasses import dataclass
from typing import Literal

from agent.aws.http import Timeouts
from agent.etcd.gateway import CALL, Gateway
from agent.etcd.gateway_errors import EtcdRefusal
from agent.etcd.wire import encoded, number, part, parts, text, texts
from units.errors import Retryable

AlarmKind = Literal["NOSPACE", "CORRUPT"]

_SLOWEST_DEFRAGMENTATION = 5_000_000
# A learner gives no list of members and no keys: whoever looks asks another one.
LEARNER = "this member is a learner: it catches up with the others, and votes and serves after that"
_WHOLE_KEYSPACE = {"key": encoded(b"\0"), "range_end": encoded(b"\0")}


@dataclass(frozen=True, slots=True)
class MemberStatus:
    member_id: int
    cluster_id: int
    version: str
    leader: int  # id; 0 without one
    term: int
    revision: int
    raft_index: int
    database_bytes: int
    in_use_bytes: int
    learner: bool
    errors: tuple[str, ...]

    @property
    def leads(self) -> bool:
        return self.leader == self.member_id


@dataclass(frozen=True, slots=True)
class Alarm:
    member_id: int
    kind: str  # AlarmKind, or what a newer etcd calls it


def member_status(gateway: Gateway, *, timeouts: Timeouts = CALL) -> MemberStatus:
    """As the first member that answers sees itself; a learner and a member without quorum answer too."""
    found = gateway.call("/v3/maintenance/status", timeouts=timeouts)
    header = part(found, "header")
    return MemberStatus(
        member_id=number(header, "member_id"),
        cluster_id=number(header, "cluster_id"),
        version=text(found, "version"),
        leader=number(found, "leader"),
        term=number(found, "raftTerm"),
        revision=number(header, "revision"),
        raft_index=number(found, "raftIndex"),
        database_bytes=number(found, "dbSize"),
        in_use_bytes=number(found, "dbSizeInUse"),
        learner=bool(found.get("isLearner", False)),
        errors=texts(found, "errors"),
    )


def list_alarms(gateway: Gateway) -> tuple[Alarm, ...]:
    found = gateway.call("/v3/maintenance/alarm", {"action": "GET"})
    return tuple(Alarm(number(one, "memberID"), text(one, "alarm")) for one in parts(found, "alarms"))


def disarm(gateway: Gateway, alarm: Alarm) -> None:
    """Only NOSPACE: a CORRUPT alarm is a person's to clear, after the bad member is gone (etcd-pki.md 2.7)."""
    if alarm.kind != "NOSPACE":
        raise ValueError(f"the alarm {alarm.kind} is never disarmed by the agent")
    body = {"action": "DEACTIVATE", "memberID": str(alarm.member_id), "alarm": alarm.kind}
    gateway.call("/v3/maintenance/alarm", body)


def defragment(gateway: Gateway, *, database_bytes: int) -> None:
    """Blocks reads and writes of the member that is asked until it is done."""
    seconds = 60 + database_bytes / _SLOWEST_DEFRAGMENTATION
    gateway.call("/v3/maintenance/defragment", timeouts=Timeouts(connect=2.0, read=seconds, total=seconds))


def compact(gateway: Gateway, revision: int) -> None:
    """Forget what is older than `revision`, on the disk too; nothing happens if it is forgotten already."""
    body = {"revision": str(revision), "physical": True}
    try:
        gateway.call("/v3/kv/compaction", body, timeouts=Timeouts(connect=2.0, read=120.0, total=120.0))
    except EtcdRefusal as error:
        if error.code != "etcd-compacted":
            raise


def move_leader(gateway: Gateway, target: int) -> None:
    """Ask the leader, and nobody else, to hand over to the member `target`."""
    gateway.call("/v3/maintenance/transfer-leadership", {"targetID": str(target)})


def count_keys(gateway: Gateway, *, revision: int = 0) -> int | None:
    """How many keys there are, as of `revision` (0: now); None if that revision has been compacted away."""
    body = {**_WHOLE_KEYSPACE, "count_only": True, "revision": str(revision)}
    try:
        return number(gateway.call("/v3/kv/range", body, timeouts=Timeouts(2.0, 60.0, 60.0)), "count")
    except EtcdRefusal as error:
        if error.code == "etcd-compacted":
            return None
        raise


def version_of_cluster(statuses: tuple[MemberStatus, ...]) -> str:
    """The lowest member's minor, `3.5`: what all of them may use. Empty without a member that answered."""
    versions = []
    for status in statuses:
        major, _, rest = status.version.partition(".")
        minor = rest.partition(".")[0]
        if not (major.isdigit() and minor.isdigit()):
            raise Retryable("etcd-answer-unreadable", f"a member says that its version is {status.version!r}")
        versions.append((int(major), int(minor)))
    return ".".join(str(part) for part in min(versions)) if versions else ""
