"""The care of an etcd cluster: when to defragment whom, what to do without space, what only a person may do. Pure.

Compaction is the API server's (every 5 minutes). Thresholds and the order of steps: etcd-pki.md 2.7.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from units.etcd_members import quorum
from units.etcd_replacement import restore_remedy
from units.etcd_room import LOG_BYTES, LOW_BYTES, MIB, Freed, VolumeRoom, reserve_bytes, reserve_from
from units.status import Condition

WASTE_PART = 0.45
WASTE_BYTES = 200 * 1024**2
# Disarmed with less room than this below the quota, the alarm would be back with the next writes.
ROOM_PART = 0.95


@dataclass(frozen=True, slots=True)
class CaredMember:
    id: int
    name: str
    healthy: bool
    leader: bool
    learner: bool
    database_bytes: int
    in_use_bytes: int
    raft_index: int = 0
    answers: bool = True  # an alarm makes a member ill, but not silent
    detail: str = ""  # why it is not healthy

    @property
    def wasteful(self) -> bool:
        waste = self.database_bytes - self.in_use_bytes
        return waste > WASTE_BYTES and waste > WASTE_PART * self.database_bytes


@dataclass(frozen=True, slots=True)
class CaredAlarm:
    member_id: int
    kind: str


@dataclass(frozen=True, slots=True)
class Compact:
    revision: int


@dataclass(frozen=True, slots=True)
class Defragment:
    member_id: int


@dataclass(frozen=True, slots=True)
class Disarm:
    alarm: CaredAlarm


Step = Compact | Defragment | Disarm


def next_steps(members: Collection[CaredMember], alarms: Collection[CaredAlarm], revision: int) -> tuple[Step, ...]:
    """In order; whoever takes them looks again after each defragmentation, and stops if a member is not healthy.

    A member answers nobody while it defragments, so never while another one is missing, and the leader comes last.
    Nothing at all while there is a CORRUPT alarm: every change makes the evidence worse.
    """
    if any(alarm.kind == "CORRUPT" for alarm in alarms):
        return ()
    full = [alarm for alarm in alarms if alarm.kind == "NOSPACE"]
    # With the alarm on, members say so in their status: that alone is not ill here.
    if not full and not all(member.healthy for member in members):
        return ()
    last = sorted(members, key=lambda member: (member.leader, member.name, member.id))
    if full:
        # A member that is away cannot be defragmented, and the others take no writes until they are: should it be full
        # when it comes back, it raises the alarm again.
        compact: tuple[Step, ...] = (Compact(revision),) if revision > 1 else ()
        return (*compact, *(Defragment(one.id) for one in last if one.answers), *(Disarm(alarm) for alarm in full))
    return tuple(Defragment(one.id) for one in last if one.wasteful)


def may_disarm(members: Iterable[CaredMember], quota_bytes: int) -> bool:
    """Whether there is room again in every member."""
    return all(member.database_bytes < ROOM_PART * quota_bytes for member in members)


def successor(members: Collection[CaredMember], leaving: int) -> int | None:
    """Who should lead when `leaving` stops: a healthy voter, the one that knows most. None if nobody can."""
    able = [one for one in members if one.id != leaving and one.healthy and not one.learner]
    return max(able, key=lambda one: (one.raft_index, -one.id)).id if able else None


def conditions(
    etcd: str, members: Collection[CaredMember], alarms: Collection[CaredAlarm], *, quota_bytes: int, since: str
) -> tuple[Condition, ...]:
    """What a person should know, with what to do."""
    names = {member.id: member.name or f"{member.id:x}" for member in members}

    def whose(kind: str) -> str:
        return ", ".join(sorted(names.get(one.member_id, f"{one.member_id:x}") for one in alarms if one.kind == kind))

    found = []
    if corrupt := whose("CORRUPT"):
        found.append(
            Condition(
                code="etcd-corrupt",
                message=f"etcd {etcd!r}: the data of {corrupt} differs from the others'; etcd refuses writes",
                remedy="never disarm this alarm. Compare `etcdctl endpoint hashkv --cluster`; replace the member that "
                "differs by giving it an empty volume; if most differ, `coordinator etcd restore`",
                since=since,
            )
        )
    if full := whose("NOSPACE"):
        used = max((member.in_use_bytes for member in members), default=0)
        found.append(
            Condition(
                code="etcd-no-space",
                message=f"etcd {etcd!r}: no space in {full}: {used // 1024**2} MiB in use of a quota of "
                f"{quota_bytes // 1024**2} MiB; it takes no writes",
                remedy="the agent compacts, defragments and disarms by itself; if it comes back, find what fills etcd "
                "(`kubectl get --raw /metrics | grep apiserver_storage_objects`), or raise quotaBytes",
                since=since,
            )
        )
    silent = [] if corrupt or full else [member for member in members if not member.healthy and not member.learner]
    found += (_unhealthy(etcd, member, members, since) for member in silent)
    return tuple(found)


def _unhealthy(etcd: str, member: CaredMember, members: Collection[CaredMember], since: str) -> Condition:
    """A warning: whether the cluster still decides is told beside it."""
    voters = [one for one in members if not one.learner]
    able = sum(one.healthy for one in voters)
    return Condition(
        code="etcd-member-unhealthy",
        message=f"etcd {etcd!r}: member {member.name or f'{member.id:x}'} is not healthy: {member.detail or 'silent'} "
        f"({able} of {len(voters)} are, {quorum(len(voters))} decide)",
        remedy="on its machine: `agent status`, journalctl -u "
        f"bootwright-etcd-{etcd}; if the machine is gone, a new one takes its volume",
        since=since,
        severity="warning",
    )


def no_quorum(etcd: str, said: str, since: str) -> Condition:
    """`said`: what its own member answers."""
    return Condition(
        code="etcd-no-quorum",
        message=f"etcd {etcd!r} takes no writes as seen from here: {said}",
        remedy=f"start the other members, or mend the network between them; {restore_remedy(etcd)}",
        since=since,
    )


def room_conditions(
    etcd: str, mount: str, room: VolumeRoom, freed: Collection[Freed], volume_id: str, since: str
) -> tuple[Condition, ...]:
    """What is told of a member's volume; none while it has room and its reserve, or makes one with the next poll.

    `freed`: what the agent gave up there before, the newest last.
    """
    total, free, wanted = room.total_bytes // MIB, room.free_bytes // MIB, reserve_bytes(room.total_bytes)
    gave = f"; the agent gave up {', '.join(str(one) for one in freed)}" if freed else ""
    volume = volume_id or "VOLUME"
    grow = (
        f"aws ec2 modify-volume --volume-id {volume} --size GIB; the agent grows the file system within two minutes, "
        "and etcd comes back by itself"
    )

    def condition(code: str, said: str, *, remedy: str, severity: Literal["warning", "error"]) -> tuple[Condition, ...]:
        message = f"etcd {etcd!r}: {mount} has {free} of {total} MiB free; {said}"
        return (Condition(code=code, message=message, remedy=remedy, since=since, severity=severity),)

    if room.free_bytes < LOW_BYTES:
        left = "its reserve is given up with the next poll" if room.reserve_bytes else "nothing is left to give up"
        return condition(
            "etcd-disk-full",
            f"etcd needs {LOG_BYTES // MIB} for its next piece of log, and ends when none is left{gave}; {left}",
            remedy=f"{grow}; or delete what is not etcd's: du -xsh {mount}/*; old data of restores is {mount}/data.g*",
            severity="error",
        )
    if not wanted:
        return condition(
            "etcd-no-reserve",
            f"too small for a reserve: the agent has nothing to give up when it is full{gave}",
            remedy=f"{grow}; 1 GiB is enough",
            severity="warning",
        )
    if room.reserve_bytes < wanted and room.free_bytes < reserve_from(room):
        return condition(
            "etcd-disk-low",
            f"{room.reserve_bytes // MIB} of {wanted // MIB} MiB in reserve{gave}; the reserve is made again with "
            f"{reserve_from(room) // MIB} MiB free",
            remedy=f"{grow}; or delete what is not etcd's: du -xsh {mount}/*",
            severity="warning",
        )
    return ()
