"""`coordinator history`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import print_json, show_table

if TYPE_CHECKING:
    from coordinator.history import Entry

HELP = """Show what was published, when, by whom, and which groups it changed. Newest first.

VERSION is that of the signed targets metadata; SERIAL is the release that nodes report in `coordinator status`. Each
entry vouches for the one before it by hash, so the whole list is as authentic as the current state.

\b
Examples:
  coordinator history -f cluster.yaml
  coordinator history -f cluster.yaml --group workers --limit 200 --json
"""


def register(app: typer.Typer) -> None:
    app.command(help=HELP, short_help="Show what was published, when and by whom.")(history)


def history(
    *,
    group: Annotated[str | None, typer.Option("--group", help="Only what changed this group.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many entries to read.")] = 20,
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.history import read_history
    from coordinator.location import Where, locate

    repository = locate(Where(file, store, cluster, region, endpoint_url, keys)).open_repository()
    entries = [
        entry
        for entry in read_history(repository, limit=limit)
        if group is None or any(event.group == group for event in entry.events)
    ]
    if json:
        print_json([_document(entry) for entry in entries])
        return
    show_table(["VERSION", "SERIAL", "TIME", "BY", "WHAT"], [_row(entry) for entry in entries])


def _row(entry: "Entry") -> list[str]:
    return [str(entry.version), str(entry.note.serial or "-"), entry.note.at, entry.note.by, entry.note.what]


def _document(entry: "Entry") -> dict[str, Any]:
    return {
        "version": entry.version,
        "serial": entry.note.serial,
        "time": entry.note.at,
        "by": entry.note.by,
        "what": entry.note.what,
        "groups": [{"group": e.group, "change": e.kind, "serial": e.serial} for e in entry.events],
    }
