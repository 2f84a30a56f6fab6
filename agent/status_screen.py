"""The screen of `agent status`."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from agent.screen import Part, coloured, line, new_console, table
from units.expiry import LOW_LIFE, Expiring, expiring, life_left, short_path
from units.status import CertificateState, NodeStatus

if TYPE_CHECKING:
    from rich.console import Console

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


def _headline(console: "Console", status: NodeStatus, now: datetime) -> None:
    colour = _COLOUR.get(status.stage, "yellow")
    console.print(
        line(
            (status.stage.upper(), f"bold {colour}"),
            "  ",
            (status.node_name or status.instance_id, "bold"),
            f"  {status.role or '?'} of group ",
            (status.group or "?", "bold"),
            f" in {status.cluster or '?'}, serial {status.serial}",
        )
    )
    versions = "  ".join(f"{name} {version}" for name, version in status.versions.items())
    console.print(line(f"  {status.instance_id} {status.machine_type} {status.zone} {status.private_ip}  {versions}"))
    if status.trust:
        metadata = " ".join(f"{name} v{version}" for name, version in status.metadata.items())
        console.print(line("  trust ", coloured(status.trust, good=status.trust == "Fresh"), f"  {metadata}"))
    if status.manifest:
        of = f" ({status.choice})" if status.choice in ("stable", "candidate") else ""
        console.print(line(f"  manifest {status.manifest[:12]}{of}: {status.why}"))
    if status.drift:
        console.print(line(f"  drifted: {', '.join(status.drift[:8])}", style="yellow"))
    console.print(line(f"  last looked {_ago(status.updated, now)}"))
    if status.waiting_for:
        console.print(line(f"  waiting: {status.waiting_for}", style="yellow"))
    if status.phases:
        console.print(line("  phases: " + "  ".join(f"{phase.name} {phase.seconds:.1f}s" for phase in status.phases)))


def _machine(console: "Console", load: dict[str, Any]) -> None:
    used, total = load["memory_used_bytes"] // 1024**2, load["memory_bytes"] // 1024**2
    disks: list[Part] = []
    for place, percent in load["disks_used_percent"].items():
        disks += [f"  {place} ", coloured(f"{percent:.0f} % full", good=percent < _FULL)]
    cpus = f"load {load['load_1_minute']:.1f} on {load['cpus']} cpus"
    console.print(line(f"  memory {used} of {total} MiB  {cpus}", *disks))


def _conditions(console: "Console", status: NodeStatus, now: datetime) -> None:
    for condition in status.conditions:
        colour = "red" if condition.severity == "error" else "yellow"
        console.print()
        console.print(line(f"{condition.code} since {_ago(condition.since, now)}", style=f"bold {colour}"))
        console.print(line(f"  {condition.message}"))
        if condition.remedy:
            console.print(line(f"  -> {condition.remedy}", style="bold"))


def _resources(console: "Console", status: NodeStatus) -> None:
    counts: dict[str, int] = {}
    for resource in status.resources:
        counts[resource.status] = counts.get(resource.status, 0) + 1
    if not counts:
        return
    console.print()
    parts: list[Part] = []
    for name, count in counts.items():
        parts += [f"{', ' if parts else ''}{count} ", coloured(name, good=name in _GOOD)]
    console.print(line("resources  ", *parts))
    failed = [resource.key for resource in status.resources if resource.status == "failed"]
    if failed:
        console.print(line(f"  failed: {', '.join(failed)}", style="red"))


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
    console.print(table(("runs", "state", ""), [(name, coloured(s, good=s in _GOOD), more) for name, s, more in rows]))


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
    for remedy, group in groupby(sorted(notices, key=lambda one: one.authority), key=lambda one: one.remedy):
        console.print()
        for notice in group:
            console.print(line(notice.text, style="bold red" if notice.left.expired else "bold yellow"))
        console.print(line(f"  -> {remedy}", style="bold"))


def _certificate_row(certificate: CertificateState, now: datetime) -> tuple[Part, ...]:
    left = life_left(certificate, now)
    colour = "red" if left.expired else "yellow" if left.part < LOW_LIFE else "green"
    return (
        short_path(certificate.path),
        certificate.subject,
        (f"{left.days} d", colour),
        certificate.renews[:16].replace("T", " "),
    )


def _ago(then: str, now: datetime) -> str:
    try:
        seconds = int((now - datetime.fromisoformat(then)).total_seconds())
    except ValueError:
        return then or "never"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{max(seconds, 0)} s ago"
