"""`coordinator etcd backups` and `restore`."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import note, print_json, say, show_table, warn

if TYPE_CHECKING:
    from coordinator.etcd_backups import SeenBackup
    from coordinator.etcd_restore import RestorePlan

HELP = """Backups of etcd, and restoring one. Needs no signing keys, only the bucket."""

BACKUPS_HELP = """List the backups, newest first.

The leader's machine takes one every 15 minutes and before any change of members. All of the last hour are kept, one an
hour for 7 days, one a day for 90. Once a day the newest is restored as a test into a member of its own: TEST says how
that went.

\b
Examples:
  coordinator etcd backups -f cluster.yaml
  coordinator etcd backups --etcd events --json | jq '.backups[0].name'
"""

RESTORE_HELP = """Replace the cluster's data by a backup. Without --yes: show what would happen on which node.

It begins a new generation: every member stops its API server and etcd, keeps its old data aside on its volume, takes
the backup, and starts; API servers come back when a quorum of the restored members stands. All revisions move up by a
thousand million, so that every controller and kubelet lists anew instead of seeing time go backwards. A member that
is away follows when it comes back. Lost volumes need empty ones with the same tags first.

\b
Examples:
  coordinator etcd restore --backup latest -f cluster.yaml
  coordinator etcd restore --backup 2026-11-23T07:15:00Z-48211 --yes -f cluster.yaml
"""

Etcd = Annotated[str, typer.Option("--etcd", help="Which etcd cluster: main or events.", metavar="NAME")]

app = typer.Typer(help=HELP, short_help="List and restore backups of etcd.", no_args_is_help=True)


@app.command(help=BACKUPS_HELP, short_help="List the backups.")
def backups(
    *,
    etcd: Etcd = "main",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many to show.")] = 50,
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.etcd_backups import read_backups
    from coordinator.location import Where, locate
    from coordinator.repository import utc_now

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    found = read_backups(here.open_store(), etcd, limit=limit)
    now = utc_now()
    if json:
        print_json({"etcd": etcd, "backups": [_document(one, now) for one in found]})
    elif found:
        columns = ("BACKUP", "AGE", "REVISION", "SIZE", "KEYS", "ETCD", "GEN", "WHY", "TEST")
        show_table(columns, [_row(one, now) for one in found])
    else:
        note(f"there is no backup of etcd {etcd!r}")


@app.command(help=RESTORE_HELP, short_help="Replace the cluster's data by a backup.")
def restore(
    *,
    backup: Annotated[str, typer.Option("--backup", help="Its name, or `latest`.", metavar="NAME")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it, only show.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also one whose test failed, or of another etcd.")] = False,
    etcd: Etcd = "main",
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.etcd_restore import begin_restore, plan_restore
    from coordinator.location import Where, locate
    from coordinator.operator import operator_name
    from coordinator.repository import utc_now

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    open_store = here.open_store()
    plan = plan_restore(open_store, here.name, etcd, backup, utc_now(), force=force)
    if json:
        print_json(_plan_document(plan, done=yes))
    else:
        _show(plan)
    if not yes:
        note("nothing was changed; add --yes to do it")
        return
    record = begin_restore(open_store, plan, here.name, operator_name())
    say(f"generation {record.generation} of etcd {etcd} begins from {plan.name}; members notice within a minute")
    note("watch it: coordinator status; on a node: agent etcd status")


def _show(plan: "RestorePlan") -> None:
    meta = plan.backup
    note(f"etcd {plan.etcd}: generation {plan.old.generation} ({plan.old.state}) -> {plan.generation}")
    note(
        f"backup {plan.name}: revision {meta.revision}, {meta.size} bytes, "
        f"{meta.keys if meta.keys is not None else '?'} keys, etcd {meta.etcd_version}, test: {plan.verdict}"
    )
    for sentence in plan.lost:
        note(f"lost: {sentence}")
    for warning in plan.warnings:
        warn(warning)
    if plan.nodes:
        rows = [(one.instance_id, one.member or "?", one.stage, one.volume_id, one.what) for one in plan.nodes]
        show_table(("INSTANCE", "MEMBER", "STAGE", "VOLUME", "WHAT HAPPENS"), rows)
    else:
        warn("no control-plane node has written a status: members restore when they boot")


def _row(one: "SeenBackup", now: datetime) -> list[str]:
    meta, kept = one.meta, one.kept
    if meta is None:
        return [kept.name, _age(now, kept.taken), str(kept.revision), _size(kept.size), "", "", "", "", one.problem]
    keys = "" if meta.keys is None else str(meta.keys)
    return [
        *(kept.name, _age(now, kept.taken), str(meta.revision), _size(meta.size), keys),
        *(meta.etcd_version, str(meta.generation), meta.reason, one.verdict),
    ]


def _document(one: "SeenBackup", now: datetime) -> dict[str, Any]:
    return {
        "name": one.kept.name,
        "time": one.kept.taken.isoformat(),
        "age_seconds": round((now - one.kept.taken).total_seconds()),
        "revision": one.kept.revision,
        "size": one.kept.size,
        "etcd_version": one.meta.etcd_version if one.meta else None,
        "verified": one.test.ok if one.test else None,
        "problem": one.problem or None,
        "meta": one.meta.model_dump(mode="json") if one.meta else None,
        "test": one.test.model_dump(mode="json") if one.test else None,
    }


def _plan_document(plan: "RestorePlan", *, done: bool) -> dict[str, Any]:
    return {
        "etcd": plan.etcd,
        "backup": plan.name,
        "from_generation": plan.old.generation,
        "to_generation": plan.generation,
        "lost": list(plan.lost),
        "warnings": list(plan.warnings),
        "nodes": [
            {"instance_id": one.instance_id, "member": one.member, "stage": one.stage, "what": one.what}
            for one in plan.nodes
        ],
        "begun": done,
    }


def _age(now: datetime, then: datetime) -> str:
    seconds = max(0, round((now - then).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _size(count: int) -> str:
    return f"{count / 1024**2:.1f} MiB"
