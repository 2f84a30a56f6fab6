"""`coordinator advance`."""

from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import note, print_json, say, warn

if TYPE_CHECKING:
    from coordinator.advance import Advanced
    from units.manifest import Rollout

HALTED = 1

HELP = """Take every rollout one step further, if its rules allow: open the next wave, finish, or halt.

Run it from cron, from CI, or with --watch; as often and from as many places as you like. If it is not run, rollouts
just stand still. A wave opens when every node of the one before has taken the candidate and its bake time has passed; a
node that says nothing until the deadline has failed; more failures than the wave's budget halt the rollout.

With --watch it ends when no rollout goes on by itself any more, with exit code 1 if one is held or went back.

\b
Examples:
  coordinator advance -f cluster.yaml
  coordinator advance -f cluster.yaml --watch
  coordinator advance -f cluster.yaml --group workers --json
"""


def register(app: typer.Typer) -> None:
    app.command(help=HELP, short_help="Take every rollout one step further.")(advance)


def advance(
    *,
    group: Annotated[list[str] | None, typer.Option("--group", help="Only this group; may be repeated.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until no rollout is under way.")] = False,
    interval: Annotated[str, typer.Option("--interval", help="With --watch.", metavar="TIME")] = "30s",
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.advance import advance as step
    from coordinator.commands.watching import repeat
    from coordinator.location import Where, locate
    from coordinator.operator import operator_name
    from coordinator.rollouts_sight import lookout_of

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    lookout, signing = lookout_of(here), here.signing_keys()
    stuck: list[str] = []
    back: set[str] = set()

    def once() -> bool:
        advanced = step(lookout, signing, by=operator_name(), only=group)
        show_advanced(advanced, json=json)
        rollouts = after(advanced)
        gone = [move.group for move in advanced.moves if move.kind == "withdraw"]
        back.update(gone)
        stuck[:] = [name for name in held(rollouts) if not group or name in group]
        return rests(rollouts, group)

    repeat(once, watch=watch, interval=interval, clear=False)
    if stuck:
        warn(f"held: {', '.join(stuck)}; coordinator rollout status says why")
    if watch and (stuck or back):
        raise typer.Exit(HALTED)


def after(advanced: "Advanced") -> dict[str, "Rollout"]:
    """Every rollout that is under way after this step."""
    found = dict(advanced.observed.releases)
    found |= {move.group: move.release for move in advanced.moves if move.release is not None}
    return {group: release.rollout for group, release in found.items() if release.rollout is not None}


def held(rollouts: dict[str, "Rollout"]) -> list[str]:
    """Groups that a person must decide about."""
    return [group for group, rollout in rollouts.items() if rollout.state in ("halted", "paused")]


def rests(rollouts: dict[str, "Rollout"], groups: list[str] | None) -> bool:
    """Whether watching on is for nothing: all are finished, held, or queued behind one that is held."""
    states = [rollout.state for group, rollout in rollouts.items() if not groups or group in groups]
    return "running" not in states and ("queued" not in states or bool(held(rollouts)))


def show_advanced(advanced: "Advanced", *, json: bool, ordered: bool = False) -> None:
    """`ordered`: by a person, who need not be warned of what was asked for."""
    from coordinator.advance import told_of

    if json:
        print_json(
            {
                "serial": advanced.serial,
                "moves": [
                    {"group": move.group, "step": move.kind, "reason": move.reason, "changed": move.release is not None}
                    for move in advanced.moves
                ],
            }
        )
        return
    if not advanced.moves:
        note("no rollout is under way")
    for move in advanced.moves:
        if move.release is None:
            note(f"{move.group}: {move.reason}")
        else:
            tell = warn if move.kind in ("halt", "withdraw") and not ordered else say
            tell(f"{move.group} {told_of(move)}: {move.reason}")
