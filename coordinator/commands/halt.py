"""`coordinator halt` and `coordinator unhalt`."""

from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Keys, Region, StoreUrl
from coordinator.console import note, say, warn

if TYPE_CHECKING:
    from coordinator.location import Cluster

HALT_HELP = """Stop rollouts at once, without any signing key: the lever for whoever is on call.

Writes halt/GROUP into the store. From its next look on no node takes a candidate; nodes that have it keep it, and
nothing else changes. The next `coordinator advance` records the rollout as paused. With -f it works even where what is
published cannot be read.

\b
Examples:
  coordinator halt workers -f cluster.yaml --reason "API errors since 14:05"
  coordinator halt --all -f cluster.yaml
"""
UNHALT_HELP = """Remove halt objects. A rollout that was paused by one goes on with `coordinator rollout resume`.

\b
Examples:
  coordinator unhalt workers -f cluster.yaml
  coordinator unhalt --all -f cluster.yaml
"""

Groups = Annotated[list[str] | None, typer.Argument(help="Groups.", metavar="[GROUP]...")]
All = Annotated[bool, typer.Option("--all", help="Every published group.")]


def register(app: typer.Typer) -> None:
    app.command(help=HALT_HELP, short_help="Stop rollouts at once, without a signing key.")(halt)
    app.command(help=UNHALT_HELP, short_help="Remove halt objects.")(unhalt)


def halt(
    *,
    groups: Groups = None,
    every: All = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; shown to everybody.", metavar="TEXT")] = "",
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.location import Where, locate
    from coordinator.operator import operator_name
    from coordinator.repository import utc_now
    from coordinator.rollouts_halts import Halt, put_halts

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    chosen = _chosen(groups, _names(here), every=every)
    halt_object = Halt(who=operator_name(), when=f"{utc_now():%Y-%m-%dT%H:%M:%SZ}", why=reason[:1000])
    put_halts(here.open_store(), chosen, halt_object)
    say(f"halted: {', '.join(chosen)}; no node takes a candidate until `coordinator unhalt`")


def unhalt(
    *,
    groups: Groups = None,
    every: All = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.location import Where, locate
    from coordinator.rollouts_halts import lift_halts, read_halts

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    names, halts = _names(here), read_halts(here.open_store())
    # A halt object may name a group that was removed since: it must be removable.
    chosen = _chosen(groups, [*names, *(name for name in halts if name not in names)], every=every)
    present = [name for name in chosen if name in halts]
    lift_halts(here.open_store(), present)
    if not present:
        note("there is no halt object for these groups")
        return
    say(f"lifted: {', '.join(present)}")
    note("a rollout that was paused meanwhile goes on with: coordinator rollout resume")


def _names(here: "Cluster") -> list[str]:
    """Of the published groups. A halt can only stop, so where the signatures cannot be checked the spec's names do:
    whoever is on call may have neither root.json nor a repository that is whole.
    """
    from units.errors import BootwrightError

    try:
        return list(here.open_repository().read().groups)
    except BootwrightError as error:
        if here.spec is None:
            raise
        warn(f"{error.message}; the groups are those of the spec")
        return [group.name for group in here.spec.instance_groups]


def _chosen(groups: list[str] | None, known: list[str], *, every: bool) -> list[str]:
    from units.errors import Invalid

    if every == bool(groups):
        raise Invalid("usage", "name groups, or give --all", remedy="add --help to see what is allowed")
    if unknown := [group for group in groups or () if group not in known]:
        raise Invalid(
            "group-unknown",
            f"no group {', '.join(map(repr, unknown))}; {', '.join(known) or 'none'} are published",
            remedy="coordinator status",
        )
    return groups or known
