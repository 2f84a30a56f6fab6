"""`coordinator status`."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import note, print_json, show_table, warn

if TYPE_CHECKING:
    from coordinator.status import SeenNode

HELP = """Show what every node says of itself: its group, stage, serial, and why it does not join.

Reads the status objects that nodes write; needs no keys. SEEN is the age of the node's last word by the store's clock,
CERTS the days until its first certificate expires, by the clock of this machine. Certificates under a quarter of their
life, and authorities in their last year, are listed by name: a node renews at 60 %, so something has kept it from that.

\b
Examples:
  coordinator status -f cluster.yaml
  coordinator status -f cluster.yaml --json | jq '.nodes[] | select(.status.stage != "ready")'
  coordinator status -f cluster.yaml --json | jq '.nodes[] | select(.expiring != [])'
"""

_COLUMNS = ("GROUP", "INSTANCE", "ZONE", "STAGE", "SERIAL", "TRUST", "CERTS", "SEEN", "WHY NOT")

_MOST_NAMED = 3  # in a table; all of them are in --json


def register(app: typer.Typer) -> None:
    app.command(help=HELP, short_help="Show what every node says of itself.")(status)


def status(
    *,
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.health import certificate_warnings
    from coordinator.location import Where, locate
    from coordinator.repository import utc_now
    from coordinator.status import MOST_NODES, read_fleet

    fleet = read_fleet(locate(Where(file, store, cluster, region, endpoint_url, keys)).open_store())
    now = utc_now()
    if fleet.truncated:
        warn(f"there are more than {MOST_NODES} status objects; the others are not shown")
    if json:
        print_json({"nodes": [_document(node, now) for node in fleet.nodes], "truncated": fleet.truncated})
    elif fleet.nodes:
        show_table(_COLUMNS, [_row(node, now) for node in fleet.nodes])
        for warning in certificate_warnings(fleet, now):
            warn(warning)
    else:
        note("no node has written a status yet")


def _row(node: "SeenNode", now: datetime) -> list[str]:
    age, found = _age(now, node.modified), node.status
    if found is None:
        return ["", node.instance_id, "", "unreadable", "", "", "", age, node.problem]
    reasons = [f"waiting for {found.waiting_for}"] if found.waiting_for else []
    for condition in found.conditions:
        reasons.append(f"{condition.code}: {condition.message}")
        reasons += [f"what to do: {condition.remedy}"] if condition.remedy else []
    expiring = node.expiring(now)
    reasons += [one.text for one in expiring[:_MOST_NAMED]]
    reasons += [f"and {len(expiring) - _MOST_NAMED} more certificates"] if len(expiring) > _MOST_NAMED else []
    reasons += [f"what to do: {expiring[0].remedy}"] if expiring else []
    days = node.days_left(now)
    certificates = "" if days is None else f"{days}d{' !' if expiring else ''}"
    serial = str(found.serial) if found.serial else ""
    return [
        *(found.group, node.instance_id, found.zone, found.stage, serial, found.trust),
        *(certificates, age, "\n".join(reasons)),
    ]


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
