"""`coordinator status --slow`."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from coordinator.console import note, print_json, show_table

if TYPE_CHECKING:
    from coordinator.store import Store

_COLUMNS = ("PHASE", "NODES", "P50", "P95", "MAX", "SLOWEST")
_ROWS = 25


def show_slowest(store: "Store", groups: Iterable[str], *, everything: bool, json: bool) -> None:
    from coordinator.slowness import MOST_PHASES, read_slowness

    found = read_slowness(store, groups)
    phases = found.slowest(MOST_PHASES + 1)
    if json:
        counts = {"nodes": found.nodes, "without_timeline": found.without}
        print_json({**counts, "phases": [phase.document for phase in phases]})
        return
    if not phases:
        note("no node has told how its boot went yet")
        return
    shown = phases if everything else phases[:_ROWS]
    rows = [
        (phase.name, str(phase.nodes), *(f"{seconds:.2f}s" for seconds in times), phase.slowest)
        for phase in shown
        for times in [(phase.percentile(50), phase.percentile(95), phase.longest)]
    ]
    show_table(_COLUMNS, rows)
    if len(shown) < len(phases):
        note(f"{len(phases) - len(shown)} faster phases are not listed; --all lists them")
    if found.without:
        note(f"{found.without} of {found.nodes} nodes have not told how their boot went")
