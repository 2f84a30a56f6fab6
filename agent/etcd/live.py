"""One cluster as it is right now, for a person and for the status object. Never raises: what fails is what it tells."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from agent.etcd.admin import Look, Seen, look_at
from agent.etcd.bucket import BackupBucket
from agent.etcd.care import cared
from agent.etcd.gateway import Gateway
from agent.etcd.here import EtcdHere
from agent.etcd.maintenance import LEARNER, Alarm, list_alarms, member_status
from agent.etcd.metrics import FSYNC, quantile, read_metrics
from agent.etcd.room import measure, read_note
from agent.volume_memory import VolumeMemory
from units.bootstrap_record import BootstrapRecord
from units.errors import BootwrightError
from units.etcd_backup import EVERY, newest_of
from units.etcd_care import CaredAlarm, conditions, no_quorum, room_conditions
from units.etcd_members import quorum
from units.status import Condition, EtcdMemberState, EtcdState

LATE = 3 * EVERY


@dataclass(frozen=True, slots=True)
class Live:
    state: EtcdState
    conditions: tuple[Condition, ...]


def look_live(here: EtcdHere, now: datetime, *, device: str = "", volume_id: str = "") -> Live:
    """Without the bucket: `with_backups` adds what lies there."""
    seen = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    base = EtcdState(name=here.name, ready=False, member=here.member, volume_id=volume_id, device=device, seen=seen)
    fsync = quantile(read_metrics(here.metrics_url), FSYNC, 0.99)
    base, disk = _with_room(base, here)
    base = base.model_copy(update={"fsync_p99_ms": None if fsync is None else round(fsync * 1000, 2)})
    try:
        with here.own.gateway() as gateway:
            own = member_status(gateway)
        with (here.voting if own.learner else here.own).gateway() as gateway:
            look = look_at(here.all, gateway, linearizable=False)
            alarms = _alarms(gateway) if _decides(look) else ()
    except BootwrightError as error:
        said = error.message[:500]
        return Live(base.model_copy(update={"detail": said}), (*disk, no_quorum(here.name, said, seen)))
    told = conditions(
        here.name,
        cared(look),
        [CaredAlarm(one.member_id, one.kind) for one in alarms],
        quota_bytes=here.quota_bytes,
        since=seen,
    )
    state = _filled(base, look, alarms, own.leader, own.term)
    if own.learner and _decides(look):
        state = state.model_copy(update={"ready": False, "detail": LEARNER})
    silent = () if _decides(look) else (no_quorum(here.name, state.detail, seen),)
    return Live(state, (*told, *silent, *disk))


def with_backups(state: EtcdState, bucket: BackupBucket, record: BootstrapRecord | None) -> EtcdState:
    """Raises what the bucket raises."""
    backups, now = bucket.backups(), datetime.fromisoformat(state.seen)
    newest = newest_of(backups, now)
    tested = newest_of((kept for kept in backups if kept.tested), now)
    test = bucket.test(tested.name) if tested else None
    return state.model_copy(
        update={
            "generation": record.generation if record else 0,
            "backup": newest.name if newest else "",
            "backup_at": newest.taken.strftime("%Y-%m-%dT%H:%M:%SZ") if newest else "",
            "verified": tested.name if tested and test and test.ok else "",
            "verified_at": test.at if test and test.ok else "",
            "backup_problem": f"the test restore of {tested.name} failed: {test.problem}"
            if tested and test and not test.ok
            else "",
        }
    )


def late_backup(state: EtcdState, now: datetime) -> tuple[Condition, ...]:
    """Three turns of the timer without a backup are no accident. Before the first one, only a ready cluster is late."""
    if state.backup_at:
        age = now - datetime.fromisoformat(state.backup_at)
        if age < LATE:
            return ()
        said = f"the newest backup of etcd {state.name!r} is {int(age.total_seconds() // 60)} minutes old"
    elif state.ready and not state.backup_problem:
        said = f"etcd {state.name!r} has no backup yet"
    else:
        return ()
    return (
        Condition(
            code="etcd-backup-late",
            message=said,
            remedy="on the leader's machine: journalctl -u bootwright-etcd-backup; `agent etcd backup`",
            since=state.seen,
            severity="warning",
        ),
    )


def remembered_volume(etcd: str) -> str:
    with suppress(BootwrightError, OSError):
        memory = VolumeMemory().of_etcd(etcd)
        return memory.volume_id if memory else ""
    return ""


def _with_room(base: EtcdState, here: EtcdHere) -> tuple[EtcdState, tuple[Condition, ...]]:
    """Nothing of a volume that is not there: others tell of that."""
    try:
        room = measure(here.mount)
    except OSError:
        return base, ()
    freed = read_note(here.mount)
    state = base.model_copy(
        update={
            "volume_bytes": room.total_bytes,
            "free_bytes": room.free_bytes,
            "reserve_bytes": room.reserve_bytes,
            "given_up": tuple(str(one) for one in freed),
        }
    )
    return state, room_conditions(here.name, str(here.mount), room, freed, base.volume_id, base.seen)


def _filled(base: EtcdState, look: Look, alarms: tuple[Alarm, ...], leader: int, term: int) -> EtcdState:
    names = {one.member.id: one.member.name or f"{one.member.id:x}" for one in look.members}
    newest = max((status.revision for status in look.statuses), default=0)
    return base.model_copy(
        update={
            "ready": _decides(look) and not alarms,
            "detail": "" if _decides(look) else "no quorum: too few members are healthy",
            "leader": names.get(leader, ""),
            "term": term,
            "revision": newest,
            "members": tuple(_member(one, newest) for one in look.members),
            "alarms": tuple(f"{one.kind} on {names.get(one.member_id, f'{one.member_id:x}')}" for one in alarms),
        }
    )


def _decides(look: Look) -> bool:
    """A quorum of voters answers and knows a leader. An alarm makes members ill, but not silent."""
    voters = [seen for seen in look.members if not seen.member.learner]
    return sum(bool(seen.status and seen.status.leader) for seen in voters) >= quorum(len(voters))


def _alarms(gateway: Gateway) -> tuple[Alarm, ...]:
    """None told by a cluster that has lost its quorum just now: only a quorum knows them."""
    with suppress(BootwrightError):
        return list_alarms(gateway)
    return ()


def _member(seen: Seen, newest: int) -> EtcdMemberState:
    status = seen.status
    return EtcdMemberState(
        name=seen.member.name,
        id=f"{seen.member.id:x}",
        healthy=seen.member.healthy,
        learner=seen.member.learner,
        version=status.version if status else "",
        revision_lag=newest - status.revision if status else 0,
        database_bytes=status.database_bytes if status else 0,
        in_use_bytes=status.in_use_bytes if status else 0,
        detail=seen.member.detail[:300],
    )
