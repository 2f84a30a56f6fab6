"""Keeps a cluster fit: defragments, makes room, hands leadership on. What to do is `units.etcd_care`'s decision."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from agent.etcd.admin import EtcdClients, Look, Seen, look_at
from agent.etcd.keys import Keys
from agent.etcd.maintenance import (
    Alarm,
    MemberStatus,
    compact,
    defragment,
    disarm,
    list_alarms,
    member_status,
    move_leader,
)
from agent.waits import Waits
from units.errors import Retryable
from units.etcd_care import (
    CaredAlarm,
    CaredMember,
    Compact,
    Defragment,
    Disarm,
    may_disarm,
    next_steps,
    successor,
)

LOG = logging.getLogger("bootwright.etcd")
LOCK = "care"
_SETTLE_SECONDS = 60.0  # after a member defragmented, before the next one does


@dataclass(frozen=True, slots=True)
class Carer:
    """For one cluster; `own` is this machine's member."""

    own: EtcdClients
    all: EtcdClients
    quota_bytes: int
    waits: Waits
    say: Callable[[str], None]

    def care(self) -> tuple[str, ...]:
        """What was done, in words. Only the leader's machine does anything; Retryable if a member goes missing."""
        with self.own.gateway() as gateway:
            if not member_status(gateway).leads:
                return ()
            look = look_at(self.all, gateway, linearizable=True)
            alarms = list_alarms(gateway)
        revision = max((status.revision for status in look.statuses), default=0)
        steps = next_steps(cared(look), _cared_alarms(alarms), revision)
        if not steps:
            return ()
        done: list[str] = []
        with self._alone(full=bool(alarms)):
            for step in steps:
                self._require_lead()
                match step:
                    case Compact():
                        with self.own.gateway() as gateway:
                            compact(gateway, step.revision)
                        done.append(f"compacted to revision {step.revision}")
                    case Defragment():
                        done.append(self._defragment(look, step.member_id))
                    case Disarm():
                        done.append(self._disarm(Alarm(step.alarm.member_id, step.alarm.kind)))
                self.say(done[-1])
        return tuple(done)

    @contextmanager
    def _alone(self, *, full: bool) -> Iterator[None]:
        """A change of leadership in between must not make two carers. A full etcd grants no lease, so no lock either
        (measured on 3.5.16): there only being the leader, asked anew before each step, keeps others away.
        """
        if full:
            yield
            return
        with Keys(self.all) as keys, keys.locked(LOCK):
            yield

    def _require_lead(self) -> None:
        with self.own.gateway() as gateway:
            if not member_status(gateway).leads:
                raise Retryable("etcd-leader-changed", "leadership moved meanwhile: the new leader's machine goes on")

    def _defragment(self, look: Look, member_id: int) -> str:
        seen = next(one for one in look.members if one.member.id == member_id)
        before = seen.status.database_bytes if seen.status else 0
        with self.all.at(*seen.member.client_urls).gateway() as gateway:
            defragment(gateway, database_bytes=before)
            after = self.waits.until(
                f"{seen.member.name} after its defragmentation",
                lambda: _settled_bytes(member_status(gateway)),
                limit=_SETTLE_SECONDS,
            )
        return f"defragmented {seen.member.name}: {before // 1024**2} to {after // 1024**2} MiB"

    def _disarm(self, alarm: Alarm) -> str:
        with self.own.gateway() as gateway:
            if not may_disarm(cared(look_at(self.all, gateway, linearizable=True)), self.quota_bytes):
                return f"left the alarm {alarm.kind} on: the database is still as large as its quota"
            disarm(gateway, alarm)
        return f"disarmed {alarm.kind} of {alarm.member_id:x}"


def step_down(own: EtcdClients) -> str:
    """Before this machine's member stops: whoever leads instead, in words. Never waits long, never in the way."""
    with own.gateway() as gateway:
        status = member_status(gateway)
        if not status.leads:
            return "does not lead"
        look = look_at(own, gateway, linearizable=False)
        target = successor(cared(look), status.member_id)
        if target is None:
            return "leads, and nobody else can"
        move_leader(gateway, target)
    name = next(one.member.name for one in look.members if one.member.id == target)
    return f"leadership moved to {name}"


def cared(look: Look) -> tuple[CaredMember, ...]:
    return tuple(_cared(one, look.leader) for one in look.members)


def _cared(seen: Seen, leader: int | None) -> CaredMember:
    status = seen.status
    return CaredMember(
        id=seen.member.id,
        name=seen.member.name,
        healthy=seen.member.healthy,
        leader=seen.member.id == leader,
        learner=seen.member.learner,
        database_bytes=status.database_bytes if status else 0,
        in_use_bytes=status.in_use_bytes if status else 0,
        raft_index=status.raft_index if status else 0,
        answers=status is not None,
        detail=seen.member.detail,
    )


def _cared_alarms(alarms: tuple[Alarm, ...]) -> tuple[CaredAlarm, ...]:
    return tuple(CaredAlarm(one.member_id, one.kind) for one in alarms)


def _settled_bytes(status: MemberStatus) -> int:
    if not status.leader:
        raise Retryable("etcd-no-quorum", "it knows no leader yet")
    return status.database_bytes
