"""`coordinator rollback`."""

from typing import Annotated

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import note, print_json, say

HELP = """Return groups to an older manifest from the signed history, as a rollout under a new, higher serial.

Without --to it is the stable manifest before the one of now; with --to, what was stable at that serial. Trust does not
go back: authorities that were rotated since stay. Without --yes nothing is published. To take back a rollout that is
still under way: coordinator rollout abort.

The spec is not changed: the next publish from it would bring the change again.

\b
Examples:
  coordinator rollback workers -f cluster.yaml              look
  coordinator rollback workers -f cluster.yaml --yes
  coordinator rollback --to 17 -f cluster.yaml --yes        all groups
"""


def register(app: typer.Typer) -> None:
    app.command(help=HELP, short_help="Return to an older manifest, under a new serial.")(rollback)


def rollback(
    *,
    groups: Annotated[list[str] | None, typer.Argument(help="Groups. All if left out.", metavar="[GROUP]...")] = None,
    to: Annotated[int | None, typer.Option("--to", min=1, help="As it was stable at this serial.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Sign and upload what is shown.")] = False,
    emergency: Annotated[
        bool, typer.Option("--emergency", help="Short pauses between waves. The canary is never left out.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Show every line of new files too.")] = False,
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.commands.publish import terms_of
    from coordinator.diff_view import publication_json, show_publication
    from coordinator.location import Where, locate
    from coordinator.operator import operator_name
    from coordinator.preview import preview_group
    from coordinator.publish import PublishRequest, publish
    from coordinator.rehearsal import Rehearsals
    from coordinator.repository import utc_now
    from coordinator.rollouts_back import RollbackRequest, prepare_rollback
    from coordinator.rollouts_sight import departed_of
    from coordinator.state import Lifetimes

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    repository, rehearsals = here.open_repository(), Rehearsals()
    terms = terms_of(here.spec, emergency=emergency)
    basis = PublishRequest(here.name, None, Lifetimes(), terms=terms, departed=departed_of(here))
    request = RollbackRequest(basis, tuple(groups or ()), to)
    publication = prepare_rollback(
        request, repository, lambda before, after: preview_group(before, after, rehearsals), utc_now
    )
    if not json:
        show_publication(publication, full=full)
    committed = None
    if yes and not publication.is_empty:
        committed = publish(publication, repository, here.signing_keys(), by=operator_name(), clock=utc_now)
    serial = committed.state.note.serial if committed else None
    if json:
        print_json(publication_json(publication) | {"published": committed is not None, "serial": serial})
    elif committed:
        say(f"published as serial {serial}, read back and verified as a node would")
        note("next: coordinator advance --watch; and change the spec, or the next publish brings it all again")
    elif publication.is_empty:
        note("nothing to do: that is what is stable now")
    else:
        note("nothing was published; run it again with --yes to sign and upload this")
