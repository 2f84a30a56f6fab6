"""`coordinator rollout status|pause|resume|abort`."""

from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import note, print_json, say, show_table

if TYPE_CHECKING:
    from coordinator.location import Cluster
    from coordinator.rollouts_orders import Order
    from coordinator.rollouts_report import GroupRollout
    from coordinator.rollouts_sight import Lookout

_COLUMNS = ("GROUP", "STATE", "WAVE", "NODES", "OK", "FAILED", "SILENT", "PENDING", "NEXT", "FIRST FAILING NODE")

STATUS_HELP = """Show every rollout: its wave, who failed and why, and what exactly the next wave waits for.

NODES are those that the open wave lets in, with all waves before it. SILENT have said nothing although their time is
up, and count as failed.

\b
Examples:
  coordinator rollout status -f cluster.yaml
  coordinator rollout status workers -f cluster.yaml --watch
  coordinator rollout status -f cluster.yaml --json | jq '.rollouts[].first_failing'
"""
PAUSE_HELP = """Let no further node take the candidate; those that have it keep it. `resume` goes on.

\b
Examples:
  coordinator rollout pause workers -f cluster.yaml --reason "sale until Monday"
"""
RESUME_HELP = """Go on with a paused or halted rollout; the time of its open wave counts anew.

A rollout that used up its budget would be halted again at once, and is refused, unless --accept-failures says that
those failures do not count.

\b
Examples:
  coordinator rollout resume workers -f cluster.yaml
  coordinator rollout resume workers -f cluster.yaml --accept-failures
"""
ABORT_HELP = """Take the candidate back: every node that has it returns to the stable manifest at its next poll.

Aborting a control-plane group's rollout takes along what waits for it.

\b
Examples:
  coordinator rollout abort workers -f cluster.yaml
"""

app = typer.Typer(no_args_is_help=True, help="Look at rollouts, hold them, take them back.", rich_markup_mode=None)

Groups = Annotated[
    list[str] | None, typer.Argument(help="Groups. Every group in a rollout if left out.", metavar="[GROUP]...")
]
Reason = Annotated[str, typer.Option("--reason", help="Why; signed, and shown to everybody.", metavar="TEXT")]


@app.command(help=STATUS_HELP, short_help="Waves, failures, and what the next wave waits for.")
def status(
    *,
    groups: Groups = None,
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
    from coordinator.location import Where, locate
    from coordinator.rollouts_sight import lookout_of

    lookout = lookout_of(locate(Where(file, store, cluster, region, endpoint_url, keys)))
    repeat(lambda: _show(lookout, groups, json=json), watch=watch, interval=interval)


@app.command(help=PAUSE_HELP, short_help="Let no further node in.")
def pause(
    *,
    groups: Groups = None,
    reason: Reason = "",
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.location import Where, locate
    from coordinator.operator import operator_name
    from coordinator.rollouts_orders import Order

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    _order(here, Order("pause", operator_name(), groups or None, reason), json=json)


@app.command(help=RESUME_HELP, short_help="Go on with a paused or halted rollout.")
def resume(
    *,
    groups: Groups = None,
    accept_failures: Annotated[
        bool, typer.Option("--accept-failures", help="What has failed so far does not count against the budget.")
    ] = False,
    reason: Reason = "",
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.location import Where, locate
    from coordinator.operator import operator_name
    from coordinator.rollouts_orders import Order

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    order = Order("resume", operator_name(), groups or None, reason, accept_failures=accept_failures)
    _order(here, order, json=json)


@app.command(help=ABORT_HELP, short_help="Take the candidate back.")
def abort(
    *,
    groups: Groups = None,
    reason: Reason = "",
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.location import Where, locate
    from coordinator.operator import operator_name
    from coordinator.rollouts_orders import Order

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    _order(here, Order("abort", operator_name(), groups or None, reason), json=json)


def _order(here: "Cluster", order: "Order", *, json: bool) -> None:
    from coordinator.commands.advance import show_advanced
    from coordinator.rollouts_orders import carry_out
    from coordinator.rollouts_sight import lookout_of

    advanced = carry_out(order, lookout_of(here), here.signing_keys())
    show_advanced(advanced, json=json, ordered=True)
    if advanced.committed and not json:
        say(f"serial {advanced.serial} is published; nodes take it at their next poll")


def _show(lookout: "Lookout", groups: list[str] | None, *, json: bool) -> None:
    from coordinator.advance import require_published
    from coordinator.rollouts_report import report

    state = lookout.repository.read()
    require_published(state, groups)
    rows = [row for row in report(lookout.look(state)) if not groups or row.group in groups]
    if json:
        print_json({"rollouts": [row.document for row in rows]})
    elif rows:
        show_table(_COLUMNS, [_row(row) for row in rows])
    else:
        note("no rollout is under way")


def _row(row: "GroupRollout") -> list[str]:
    failing = ""
    if row.failing:
        failing = f"{row.failing.instance_id}: {row.failing.reason}"
        failing += f"\nwhat to do: {row.failing.remedy}" if row.failing.remedy else ""
    ready = {"open": "the next wave opens", "finish": "the candidate becomes stable", "halt": "it is halted"}
    following = row.gate or f"{ready.get(row.next, row.next)} with the next `coordinator advance`"
    if row.state in ("halted", "paused"):
        following += f"\nwhat to do: coordinator rollout resume {row.group}, or abort"
    counts = (row.members, row.ok, len(row.failed), len(row.silent), len(row.pending))
    return [row.group, row.state, f"{row.wave}/{row.waves}", *map(str, counts), following, failing]
