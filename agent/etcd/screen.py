"""The screen of `agent etcd status`."""

from datetime import datetime

from units.status import Condition, EtcdMemberState, EtcdState

_MIB = 1024 * 1024
_SLOW_FSYNC_MS = 10.0  # etcd's own advice: the 99th percentile under 10 ms
_LATE_BACKUP_SECONDS = 45 * 60


def print_etcd(state: EtcdState, conditions: tuple[Condition, ...], now: datetime) -> None:
    from rich.markup import escape
    from rich.text import Text

    from agent.status_screen import new_console, table

    console = new_console()
    ready = "[green]ready[/]" if state.ready else "[red]NOT READY[/]"
    console.print(f"[bold]etcd {state.name}[/]  {ready}  {escape(state.detail)}")
    console.print(
        f"  member {state.member}, generation {state.generation or '?'}, leader {state.leader or 'none'}, "
        f"term {state.term}, revision {state.revision}"
    )
    console.print(f"  volume {state.volume_id or '?'} on {state.device or '(not mounted)'}, {_fsync(state)}")
    if state.volume_bytes:
        free, reserve = state.free_bytes // _MIB, state.reserve_bytes // _MIB
        console.print(f"  {free} of {state.volume_bytes // _MIB} MiB free, {reserve} MiB more in reserve")
    for given in state.given_up:
        console.print(Text(f"  given up for room: {given}", style="yellow"))
    if state.alarms:
        console.print(Text(f"  alarms: {', '.join(state.alarms)}", style="bold red"))
    if state.members:
        titles = ("member", "state", "version", "behind", "database", "in use", "id")
        console.print(table(titles, [_row(member, state.leader) for member in state.members]))
    console.print(Text(f"  {_backup(state, now)}", style="" if state.backup else "bold red"))
    if state.backup_problem:
        console.print(Text(f"  {state.backup_problem}", style="bold red"))
    for condition in conditions:
        console.print(Text(f"{condition.code}: {condition.message}", style="bold red"))
        console.print(Text(f"  -> {condition.remedy}", style="bold"))


def _row(member: EtcdMemberState, leader: str) -> tuple[str, ...]:
    from rich.markup import escape

    if not member.healthy:
        shown = f"[red]{escape(member.detail or 'not healthy')}[/]"
    elif member.learner:
        shown = "[yellow]learner[/]"
    else:
        shown = "[green]leader[/]" if member.name == leader else "[green]follower[/]"
    return (
        member.name or "(never started)",
        shown,
        member.version,
        str(member.revision_lag),
        f"{member.database_bytes // _MIB} MiB",
        f"{member.in_use_bytes // _MIB} MiB",
        member.id,
    )


def _fsync(state: EtcdState) -> str:
    if state.fsync_p99_ms is None:
        return "no word of its disk"
    colour = "green" if state.fsync_p99_ms < _SLOW_FSYNC_MS else "red"
    return f"fsync p99 [{colour}]{state.fsync_p99_ms} ms[/]"


def _backup(state: EtcdState, now: datetime) -> str:
    if not state.backup:
        return "no backup is known"
    tested = f"; {state.verified} was restored as a test" if state.verified else "; none was tested yet"
    age = (now - datetime.fromisoformat(state.backup_at)).total_seconds()
    late = " (LATE)" if age > _LATE_BACKUP_SECONDS else ""
    return f"last backup {state.backup}, {int(age // 60)} min ago{late}{tested}"
