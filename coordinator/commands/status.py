"""`coordinator status`."""

import json as jsonlib
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.commands.slowest import show_slowest
from coordinator.console import note, show_table, warn

if TYPE_CHECKING:
    from coordinator.fleet_view import GroupSum
    from coordinator.inventory import Inventory, NodeRow
    from coordinator.location import Cluster
    from coordinator.state import PublishedGroup
    from coordinator.status import SeenNode

HELP = """Show the fleet: every group in numbers, and every node with its stage, serial, and why it does not join.

Reads the status objects that nodes write; needs no keys. STABLE and CANDIDATE count the nodes that run that manifest of
their group's release, RUNS says it of one node. SEEN is the age of the node's last word by the store's clock, CERTS the
days until its first certificate expires, by the clock of this machine. Certificates under a quarter of their life, and
authorities in their last year, are listed by name: a node renews at 60 %, so something has kept it from that.

Of a large fleet only the nodes are listed that something is to be said about; --all lists every one.

--slow shows instead how long the phases of the nodes' last boots took, over all of them: P50 and P95 are what half and
all but a twentieth of the nodes needed or less, right to 5 %, MAX is what SLOWEST needed. "until X" is when X was
reached, in seconds after the kernel started. On the node itself: agent status --timeline.

\b
Examples:
  coordinator status -f cluster.yaml
  coordinator status -f cluster.yaml --watch
  coordinator status -f cluster.yaml --group workers --all
  coordinator status -f cluster.yaml --json | jq '.nodes[] | select(.status.stage != "ready")'
  coordinator status -f cluster.yaml --json | jq '.nodes[] | select(.expiring != [])'
  coordinator status -f cluster.yaml --slow --group workers
"""

_GROUPS = ("GROUP", "NODES", "READY", "SILENT", "SERIAL", "STABLE", "CANDIDATE", "OTHER", "DRIFT", "CERTS !", "")
_COLUMNS = ("GROUP", "INSTANCE", "ZONE", "STAGE", "SERIAL", "RUNS", "TRUST", "CERTS", "SEEN", "WHY NOT")

_FEW = 60  # so many nodes are all shown
_MOST_ROWS = 300

Published = Mapping[str, "PublishedGroup"]


def register(app: typer.Typer) -> None:
    app.command(help=HELP, short_help="Show what every node says of itself.")(status)


def status(
    *,
    group: Annotated[list[str] | None, typer.Option("--group", help="Only this group; may be repeated.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="List every node of a large fleet.")] = False,
    slow: Annotated[bool, typer.Option("--slow", help="Show the slowest phases of the nodes' boots instead.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again every few seconds.")] = False,
    interval: Annotated[str, typer.Option("--interval", help="With --watch.", metavar="TIME")] = "10s",
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.commands.watching import repeat
    from coordinator.inventory import Inventory
    from coordinator.location import Where, locate
    from coordinator.repository import utc_now

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    inventory = Inventory(here.open_store(), utc_now)

    def show() -> None:
        if slow:
            show_slowest(here.open_store(), group or (), everything=everything, json=json)
            return
        published = _published(here)
        if json:
            _print_json(here, published, group)
        else:
            _show(inventory, published, group, everything=everything)

    repeat(show, watch=watch, interval=interval)


def _published(here: "Cluster") -> Published:
    """The verified groups; none where this desk has no key directory, which status does not need."""
    from units.errors import Fatal, Invalid, Refused

    try:
        return here.open_repository().read().groups
    except (Fatal, Invalid, Refused) as error:
        note(f"what is published is not shown: {error.message}")
        return {}


def _show(inventory: "Inventory", published: Published, groups: list[str] | None, *, everything: bool) -> None:
    from coordinator.fleet_view import is_fine, sums
    from coordinator.health import certificate_warnings
    from coordinator.repository import utc_now

    now = utc_now()
    rows = [row for row in inventory.rows() if not groups or row.group in groups]
    rows.sort(key=lambda row: (row.group or "~", row.instance_id))
    totals = [one for one in sums(rows, published, now) if not groups or one.group in groups]
    if totals:
        show_table(_GROUPS, [_sum(one, known=bool(published)) for one in totals])
    if not rows:
        note("no node has written a status yet")
        return
    all_of_them = everything or len(rows) <= _FEW
    shown = rows if all_of_them else [row for row in rows if not is_fine(row, published, now)]
    show_table(_COLUMNS, [_row(row, now, published) for row in (shown if everything else shown[:_MOST_ROWS])])
    if not all_of_them:
        note(f"{len(rows) - len(shown)} of {len(rows)} nodes are well and not listed; --all lists them")
    if len(shown) > _MOST_ROWS and not everything:
        note(f"{len(shown) - _MOST_ROWS} more nodes are not well; --all lists them")
    for warning in certificate_warnings(rows):
        warn(warning)


def _sum(one: "GroupSum", *, known: bool) -> list[str]:
    """`known`: whether it could be read what is published."""
    counts = (one.nodes, one.ready, one.silent)
    which = (one.stable, one.candidate, one.other, one.drifted, one.expiring)
    serial = "" if one.serial is None else str(one.serial)
    remark = "rollout under way" if one.rollout else "" if one.serial is not None or not known else "not published"
    return [one.group, *map(str, counts), serial, *(str(count) if count else "" for count in which), remark]


def _row(row: "NodeRow", now: datetime, published: Published) -> list[str]:
    from coordinator.fleet_view import runs

    age = _age(now, row.modified)
    if row.problem:
        return ["", row.instance_id, "", "unreadable", "", "", "", "", age, row.problem]
    reasons = [f"waiting for {row.waiting_for}"] if row.waiting_for else []
    for condition in row.conditions:
        reasons.append(f"{condition.code}: {condition.message}")
        reasons += [f"what to do: {condition.remedy}"] if condition.remedy else []
    if row.drift and not any(condition.code == "drifted" for condition in row.conditions):
        reasons.append(f"drifted: {', '.join(row.drift[:3])}")
    reasons += [one.text for one in row.expiring]
    more = row.expiring_count - len(row.expiring)
    reasons += [f"and {more} more certificates"] if more else []
    reasons += [f"what to do: {row.expiring[0].remedy}"] if row.expiring else []
    certificates = "" if row.days_left is None else f"{row.days_left}d{' !' if row.expiring else ''}"
    serial = str(row.serial) if row.serial else ""
    return [
        *(row.group, row.instance_id, row.zone, row.stage, serial, runs(row, published), row.trust),
        *(certificates, age, "\n".join(reasons)),
    ]


def _print_json(here: "Cluster", published: Published, groups: list[str] | None) -> None:
    """Node by node as they are read: ten thousand whole statuses are 200 MB, and never in memory together."""
    from coordinator.fleet_view import sums
    from coordinator.inventory import NodeRow, row_of
    from coordinator.repository import utc_now
    from coordinator.status import each_status, status_objects

    now, store = utc_now(), here.open_store()
    rows: list[NodeRow] = []

    def text_of(node: "SeenNode") -> tuple[NodeRow, str]:
        return row_of(node, now), jsonlib.dumps(_document(node, now), indent=1, default=str)

    sys.stdout.write('{\n"nodes": [')
    for found in each_status(store, status_objects(store), text_of):
        if found is not None and (not groups or found[0].group in groups):
            sys.stdout.write(("," if rows else "") + "\n" + found[1])
            rows.append(found[0])
    totals = [one.document for one in sums(rows, published, now) if not groups or one.group in groups]
    sys.stdout.write(f'\n],\n"groups": {jsonlib.dumps(totals, indent=1)}\n}}\n')


def _document(node: "SeenNode", now: datetime) -> dict[str, Any]:
    return {
        "instance_id": node.instance_id,
        "age_seconds": round((now - node.modified).total_seconds()),
        "problem": node.problem or None,
        "certificate_days_left": node.days_left(now),
        "expiring": [
            {
                "path": one.path,
                "subject": one.subject,
                "authority": one.authority,
                "days_left": one.left.days,
                "life_left": round(one.left.part, 3),
                "remedy": one.remedy,
            }
            for one in node.expiring(now)
        ],
        "status": node.status.model_dump(mode="json") if node.status else None,
    }


def _age(now: datetime, then: datetime) -> str:
    seconds = max(0, round((now - then).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
