"""The screen of `agent status`. This and `agent.certs_screen` alone use rich, and only when somebody looks."""

import sys
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from units.expiry import LOW_LIFE, Expiring, expiring, life_left, short_path
from units.status import CertificateState, NodeStatus

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_COLOUR = {"ready": "green", "booting": "yellow", "retrying": "yellow", "refused": "red", "failed": "red"}
_GOOD = ("active", "ok", "unchanged", "changed")
_FULL = 85.0  # percent: kubelet evicts from here on (nodefs.available 10 %, imagefs.available 15 %)


def print_screen(status: NodeStatus, live: dict[str, Any], now: datetime) -> None:
    console = new_console()
    _headline(console, status, now)
    _machine(console, live["machine"])
    _conditions(console, status, now)
    _resources(console, status)
    _running(console, live)
    _certificates(console, status, now)


def new_console() -> "Console":
    from rich.console import Console

    # Without a terminal (ssh with a command, a log) nothing should be folded at 80 columns.
    return Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def _headline(console: "Console", status: NodeStatus, now: datetime) -> None:
    colour = _COLOUR.get(status.stage, "yellow")
    console.print(
        f"[bold {colour}]{status.stage.upper()}[/]  [bold]{status.node_name or status.instance_id}[/]  "
        f"{status.role or '?'} of group [bold]{status.group or '?'}[/] in {status.cluster or '?'}, "
        f"serial {status.serial}"
    )
    versions = "  ".join(f"{name} {version}" for name, version in status.versions.items())
    console.print(f"  {status.instance_id} {status.machine_type} {status.zone} {status.private_ip}  {versions}")
    if status.trust:
        metadata = " ".join(f"{name} v{version}" for name, version in status.metadata.items())
        console.print(f"  trust {_coloured(status.trust, good=status.trust == 'Fresh')}  {metadata}")
    if status.manifest:
        of = f" ({status.choice})" if status.choice in ("stable", "candidate") else ""
        console.print(f"  manifest {status.manifest[:12]}{of}: {status.why}", markup=False)
    if status.drift:
        console.print(f"  [yellow]drifted: {', '.join(status.drift[:8])}[/]")
    console.print(f"  last looked {_ago(status.updated, now)}")
    if status.waiting_for:
        console.print(f"  [yellow]waiting: {status.waiting_for}[/]", markup=True)
    if status.phases:
        console.print("  phases: " + "  ".join(f"{phase.name} {phase.seconds:.1f}s" for phase in status.phases))


def _machine(console: "Console", load: dict[str, Any]) -> None:
    used, total = load["memory_used_bytes"] // 1024**2, load["memory_bytes"] // 1024**2
    disks = "  ".join(
        f"{place} {_coloured(f'{percent:.0f} % full', good=percent < _FULL)}"
        for place, percent in load["disks_used_percent"].items()
    )
    console.print(f"  memory {used} of {total} MiB  load {load['load_1_minute']:.1f} on {load['cpus']} cpus  {disks}")


def _conditions(console: "Console", status: NodeStatus, now: datetime) -> None:
    from rich.text import Text

    for condition in status.conditions:
        colour = "red" if condition.severity == "error" else "yellow"
        console.print()
        console.print(Text(f"{condition.code} since {_ago(condition.since, now)}", style=f"bold {colour}"))
        console.print(Text(f"  {condition.message}"))
        if condition.remedy:
            console.print(Text(f"  -> {condition.remedy}", style="bold"))


def _resources(console: "Console", status: NodeStatus) -> None:
    counts: dict[str, int] = {}
    for resource in status.resources:
        counts[resource.status] = counts.get(resource.status, 0) + 1
    if not counts:
        return
    console.print()
    parts = [f"{count} {_coloured(name, good=name in _GOOD)}" for name, count in counts.items()]
    console.print(f"resources  {', '.join(parts)}")
    failed = [resource.key for resource in status.resources if resource.status == "failed"]
    if failed:
        console.print(f"  [red]failed: {', '.join(failed)}[/]")


def _running(console: "Console", live: dict[str, Any]) -> None:
    rows = [(unit, state, "") for unit, state in live["units"].items()]
    rows += [(name, said, "") for name, said in live["health"].items()]
    for etcd in live["etcd"]:
        size = f"{etcd['database_bytes'] // 1024} KiB"
        detail = f"leader {etcd['leader']}, {etcd['members']} members, {size}, {etcd['version']}"
        rows.append(
            (f"etcd {etcd['name']}", "ok" if etcd["ready"] else etcd["detail"], detail if etcd["version"] else "")
        )
    console.print()
    console.print(table(("runs", "state", ""), [(name, _coloured(s, good=s in _GOOD), more) for name, s, more in rows]))


def _certificates(console: "Console", status: NodeStatus, now: datetime) -> None:
    leaves = [certificate for certificate in status.certificates if not certificate.authority]
    if leaves:
        console.print()
        console.print(
            table(("certificate", "subject", "left", "renews"), [_certificate_row(leaf, now) for leaf in leaves])
        )
    print_expiring(console, expiring(status.certificates, now))


def print_expiring(console: "Console", notices: Sequence[Expiring]) -> None:
    """What ends soon, each remedy once: after a month without an issuer it is all of them."""
    from rich.text import Text

    for remedy, group in groupby(sorted(notices, key=lambda one: one.authority), key=lambda one: one.remedy):
        console.print()
        for notice in group:
            console.print(Text(notice.text, style="bold red" if notice.left.expired else "bold yellow"))
        console.print(Text(f"  -> {remedy}", style="bold"))


def _certificate_row(certificate: CertificateState, now: datetime) -> tuple[str, ...]:
    left = life_left(certificate, now)
    colour = "red" if left.expired else "yellow" if left.part < LOW_LIFE else "green"
    return (
        short_path(certificate.path),
        certificate.subject,
        f"[{colour}]{left.days} d[/]",
        certificate.renews[:16].replace("T", " "),
    )


def table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> "RenderableType":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _coloured(text: str, *, good: bool) -> str:
    from rich.markup import escape

    return f"[{'green' if good else 'red'}]{escape(text)}[/]"


def _ago(then: str, now: datetime) -> str:
    try:
        seconds = int((now - datetime.fromisoformat(then)).total_seconds())
    except ValueError:
        return then or "never"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{max(seconds, 0)} s ago"
