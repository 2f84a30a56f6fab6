"""The screen of `agent etcd status`."""

from datetime import datetime

from agent.screen import Part, line, new_console, table
from units.status import Condition, EtcdMemberState, EtcdState

_MIB = 1024 * 1024
_SLOW_FSYNC_MS = 10.0  # etcd's own advice: the 99th percentile under 10 ms
_LATE_BACKUP_SECONDS = 45 * 60
_LATE_TEST_HOURS = 26  # one a day, and the turns of the timer


def print_etcd(state: EtcdState, conditions: tuple[Condition, ...], now: datetime) -> None:
    console = new_console()
    ready = ("ready", "green") if state.ready else ("NOT READY", "red")
    console.print(line((f"etcd {state.name}", "bold"), "  ", ready, f"  {state.detail}"))
    console.print(
        line(
            f"  member {state.member}, generation {state.generation or '?'}, leader {state.leader or 'none'}, "
            f"term {state.term}, revision {state.revision}"
        )
    )
    console.print(line(f"  volume {state.volume_id or '?'} on {state.device or '(not mounted)'}, ", *_fsync(state)))
    if state.volume_bytes:
        free, reserve = state.free_bytes // _MIB, state.reserve_bytes // _MIB
        console.print(line(f"  {free} of {state.volume_bytes // _MIB} MiB free, {reserve} MiB more in reserve"))
    for given in state.given_up:
        console.print(line(f"  given up for room: {given}", style="yellow"))
    if state.alarms:
        console.print(line(f"  alarms: {', '.join(state.alarms)}", style="bold red"))
    if state.members:
        titles = ("member", "state", "version", "behind", "database", "in use", "id")
        console.print(table(titles, [_row(member, state.leader) for member in state.members]))
    console.print(line(f"  {_backup(state, now)}", style="" if state.backup else "bold red"))
    if state.backup_problem:
        console.print(line(f"  {state.backup_problem}", style="bold red"))
    for condition in conditions:
        console.print(line(f"{condition.code}: {condition.message}", style="bold red"))
        console.print(line(f"  -> {condition.remedy}", style="bold"))


def _row(member: EtcdMemberState, leader: str) -> tuple[Part, ...]:
    shown: Part
    if not member.healthy:
        shown = member.detail or "not healthy", "red"
    elif member.learner:
        shown = "learner", "yellow"
    else:
        shown = "leader" if member.name == leader else "follower", "green"
    return (
        member.name or "(never started)",
        shown,
        member.version,
        str(member.revision_lag),
        f"{member.database_bytes // _MIB} MiB",
        f"{member.in_use_bytes // _MIB} MiB",
        member.id,
    )


def _fsync(state: EtcdState) -> tuple[Part, ...]:
    if state.fsync_p99_ms is None:
        return ("no word of its disk",)
    colour = "green" if state.fsync_p99_ms < _SLOW_FSYNC_MS else "red"
    return "fsync p99 ", (f"{state.fsync_p99_ms} ms", colour)


def _backup(state: EtcdState, now: datetime) -> str:
    if not state.backup:
        return "no backup is known"
    tested = (
        f"{state.verified} was restored as a test{_tested_ago(state, now)}" if state.verified else "none was tested"
    )
    age = (now - datetime.fromisoformat(state.backup_at)).total_seconds()
    late = " (LATE)" if age > _LATE_BACKUP_SECONDS else ""
    return f"last backup {state.backup}, {int(age // 60)} min ago{late}; {tested}"


def _tested_ago(state: EtcdState, now: datetime) -> str:
    """Empty if nobody can tell: the time lies in the bucket as somebody wrote it."""
    try:
        hours = (now - datetime.fromisoformat(state.verified_at)).total_seconds() / 3600
    except (ValueError, TypeError):
        return ""
    return f" {hours:.0f} h ago{' (LATE)' if hours > _LATE_TEST_HOURS else ''}"
