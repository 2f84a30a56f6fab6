"""`coordinator publish`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from coordinator.commands.options import EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import note, print_json, say, warn

if TYPE_CHECKING:
    from coordinator.location import Cluster
    from coordinator.publish import Publication
    from coordinator.repository import Committed, Repository
    from coordinator.rollouts import Terms
    from coordinator.spec import ClusterSpec

CHANGES_PENDING = 5

HELP = """Show what the spec would change on every group's nodes, and with --yes sign and upload it.

Without --yes nothing is published. Every group is planned and rehearsed on a machine in memory first, by the code that
nodes run; what does not converge there is refused. Groups that do not change keep their serial.

Where nodes run, the change goes over them in waves: one node, one per zone, a tenth, half, all; control-plane groups
first, one node at a time. `coordinator advance` opens the waves, a node that fails goes back by itself, and too many
failures stop the rest. Publishing the manifest of before takes the change back.

\b
Examples:
  coordinator publish -f cluster.yaml                        look
  coordinator publish -f cluster.yaml --yes                  do it
  coordinator publish -f cluster.yaml --yes --emergency      waves follow each other faster; the first is still one node
  coordinator publish -f cluster.yaml --detailed-exitcode    in CI: 0 nothing to do, 5 changes are pending
"""


def register(app: typer.Typer) -> None:
    app.command(help=HELP, short_help="Show what would change on nodes; --yes signs and uploads it.")(publish)


def publish(
    *,
    file: File = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Sign and upload what is shown.")] = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Without --yes: exit 5 when there are changes.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Show every line of new files too.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write every release document again: heals lost or damaged objects.")
    ] = False,
    emergency: Annotated[
        bool,
        typer.Option(
            "--emergency", help="Short pauses between waves, and nodes that are ill take part. Never without a canary."
        ),
    ] = False,
    json: Json = False,
    store: StoreUrl = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.diff_view import publication_json, show_publication
    from coordinator.health import expiry_warnings
    from coordinator.location import Where, locate
    from coordinator.repository import utc_now

    here = locate(Where(file, store, None, region, endpoint_url, keys))
    repository = here.open_repository()
    publication = _prepare(here, repository, repair=repair, emergency=emergency)
    for warning in expiry_warnings(publication.state, utc_now()):
        warn(warning)
    if not json:
        show_publication(publication, full=full)
    committed = None
    if yes and not publication.is_empty:
        committed = _publish(here, repository, publication)
    if json:
        print_json(publication_json(publication) | _result(publication, committed))
    else:
        _conclude(publication, committed)
    if detailed_exitcode and committed is None and not publication.is_empty:
        raise typer.Exit(CHANGES_PENDING)


def _prepare(here: "Cluster", repository: "Repository", *, repair: bool, emergency: bool) -> "Publication":
    from coordinator.compile import compile_manifests
    from coordinator.preview import preview_group
    from coordinator.publish import PublishRequest, prepare
    from coordinator.rehearsal import Rehearsals
    from coordinator.repository import utc_now
    from coordinator.rollouts_sight import departed_of
    from coordinator.state import Lifetimes
    from units.errors import Invalid

    spec = here.spec
    if spec is None:
        raise Invalid("spec-missing", "publish needs a spec", remedy="coordinator publish -f cluster.yaml")
    request = PublishRequest(
        cluster=here.name,
        # What is left out asks for nothing: `init --kms` chose the key without the spec.
        secrets_key=spec.trust.secrets_key if "secrets_key" in spec.trust.model_fields_set else None,
        lifetimes=Lifetimes(**spec.trust.expiry_days.model_dump()),
        repair=repair,
        terms=terms_of(spec, emergency=emergency),
        departed=departed_of(here),
    )
    rehearsals = Rehearsals()
    return prepare(
        repository,
        request,
        lambda public, catalogue: compile_manifests(spec, public, catalogue),
        lambda before, after: preview_group(before, after, rehearsals),
        utc_now,
    )


def terms_of(spec: "ClusterSpec | None", *, emergency: bool = False) -> "Terms":
    """Without a spec, the defaults."""
    from coordinator.rollouts import EMERGENCY_BAKE, Terms

    if spec is None:
        return Terms(bake_seconds=EMERGENCY_BAKE, heals=True) if emergency else Terms()
    wanted = spec.rollout
    bake = min(EMERGENCY_BAKE, wanted.bake_seconds) if emergency else wanted.bake_seconds
    return Terms(bake, wanted.deadline_seconds, wanted.auto_rollback, heals=emergency)


def _publish(here: "Cluster", repository: "Repository", publication: "Publication") -> "Committed":
    from coordinator.operator import operator_name
    from coordinator.publish import publish as publish_now
    from coordinator.repository import utc_now

    return publish_now(publication, repository, here.signing_keys(), by=operator_name(), clock=utc_now)


def _result(publication: "Publication", committed: "Committed | None") -> dict[str, Any]:
    if committed is None:
        return {"published": False}
    return {
        "published": True,
        "serial": committed.state.note.serial,
        "versions": dict(committed.state.versions),
        "groups": {change.group: change.kind for change in publication.changes},
    }


def _conclude(publication: "Publication", committed: "Committed | None") -> None:
    if committed is not None:
        versions = ", ".join(f"{role} {version}" for role, version in committed.state.versions.items())
        say(f"published serial {committed.state.note.serial}, read back and verified as a node would ({versions})")
        if any(change.reach is not None and change.reach.in_waves for change in publication.changes):
            note("the first wave is open; next: coordinator advance --watch")
    elif publication.is_empty:
        rolling = [group.name for group in publication.state.groups.values() if group.candidate_sha256]
        if rolling:
            note(f"under way: the rollout in {', '.join(rolling)}; coordinator rollout status")
        note(f"nothing to publish: all {publication.unchanged} groups are as the spec says")
    elif not publication.changes:
        why = "every release document would be written again" if publication.repair else "its signature grows old"
        note(f"no group changes, but {why}; --yes does it")
    else:
        note("nothing was published; run it again with --yes to sign and upload this")
