"""`coordinator trust rotate ca` and `coordinator trust rotate service-account`."""

from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import note, print_json, say

if TYPE_CHECKING:
    from coordinator.documents import ClusterDocument, RotatedName, Rotation
    from coordinator.keys import SigningKeys
    from coordinator.location import Cluster
    from coordinator.repository import Committed
    from coordinator.rotation.publication import PhaseRequest, PlannedPhase, RotationTools

_PHASES = """Three phases, each a signed publish of its own that changes trust and nothing else:
  add      a new key is made; old and new are trusted, the old one signs
  sign     the new one signs, {again}; both are trusted
  retire   the old one is trusted no more
A phase is refused while a node has not confirmed the one before. Without --yes nothing is published.

Over nodes that run a phase goes in waves, which `coordinator advance --watch` opens; with --at-once all of them take it
at their next poll, and with it every restart that is shown."""

CA_HELP = f"""Replace a certificate authority: kubernetes, etcd-peers, etcd-clients or front-proxy.

\b
{_PHASES.format(again="every certificate is issued again")}

\b
Examples:
  coordinator trust rotate ca kubernetes --phase add -f cluster.yaml          look
  coordinator trust rotate ca kubernetes --phase add -f cluster.yaml --yes
  coordinator advance -f cluster.yaml --watch
  coordinator trust status -f cluster.yaml                                    who has not confirmed it
  coordinator trust rotate ca kubernetes --phase sign -f cluster.yaml --yes
  coordinator trust rotate ca kubernetes --phase retire -f cluster.yaml --yes
"""
SERVICE_ACCOUNT_HELP = f"""Replace the key that signs service-account tokens.

\b
{_PHASES.format(again="for new tokens")}
Before `retire` every token of the old key must have expired: --after says how long one may live.

\b
Examples:
  coordinator trust rotate service-account --phase add -f cluster.yaml --yes
  coordinator trust rotate service-account --phase sign -f cluster.yaml --yes
  coordinator trust rotate service-account --phase retire --after 1h -f cluster.yaml --yes
"""

# What the phase asks of people; nodes do the rest themselves.
_NEXT = {
    (
        "kubernetes",
        "add",
    ): "before `sign`: print kubeconfigs anew (those of before do not trust the new authority), and "
    "restart pods that read the cluster's CA only at their start",
    ("kubernetes", "sign"): "before `retire`: kubeconfigs of before `sign` end with the old authority; print them anew",
    ("service-account", "add"): "before `sign`: if somebody outside verifies tokens (IRSA), publish the new JWKS there",
    (
        "service-account",
        "sign",
    ): "run `coordinator trust status` when nodes have confirmed; tokens live on until `retire`",
}

Phase = Annotated[str, typer.Option("--phase", help="add, sign or retire.", metavar="add|sign|retire")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Sign and upload what is shown.")]
Ignored = Annotated[
    list[str] | None,
    typer.Option("--ignore-node", help="A machine that exists no more; may be repeated.", metavar="INSTANCE"),
]
Settle = Annotated[
    str, typer.Option("--settle", help="How long nodes need to live with a phase after they have it.", metavar="TIME")
]
AtOnce = Annotated[bool, typer.Option("--at-once", help="No waves: for an authority that is expired or stolen.")]


def register(app: typer.Typer) -> None:
    app.command("ca", help=CA_HELP, short_help="Replace a certificate authority.")(rotate_ca)
    app.command("service-account", help=SERVICE_ACCOUNT_HELP, short_help="Replace the key that signs tokens.")(
        rotate_service_account
    )


def rotate_ca(
    *,
    name: Annotated[str, typer.Argument(help="kubernetes, etcd-peers, etcd-clients or front-proxy.")],
    phase: Phase,
    yes: Yes = False,
    ignore_node: Ignored = None,
    settle: Settle = "6m",
    at_once: AtOnce = False,
    full: Annotated[bool, typer.Option("--full", help="Show every line of new files too.")] = False,
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.authorities import AUTHORITY_NAMES
    from coordinator.location import Where, locate
    from units.errors import Invalid

    if name not in AUTHORITY_NAMES:
        raise Invalid(
            "authority-unknown",
            f"authority {name!r}; allowed: {', '.join(AUTHORITY_NAMES)}",
            remedy="`coordinator trust status` shows them",
        )
    request = _request(name, phase, ignore_node, settle, None)
    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    _run(_tools(here, at_once=at_once), request, here.signing_keys() if yes else None, full=full, json=json)


def rotate_service_account(
    *,
    phase: Phase,
    yes: Yes = False,
    after: Annotated[
        str | None,
        typer.Option("--after", help="The longest life of a token: retire waits for it.", metavar="TIME"),
    ] = None,
    ignore_node: Ignored = None,
    settle: Settle = "6m",
    at_once: AtOnce = False,
    full: Annotated[bool, typer.Option("--full", help="Show every line of new files too.")] = False,
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.location import Where, locate

    request = _request("service-account", phase, ignore_node, settle, after)
    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    _run(_tools(here, at_once=at_once), request, here.signing_keys() if yes else None, full=full, json=json)


def _request(
    name: "RotatedName", phase: str, ignored: list[str] | None, settle: str, after: str | None
) -> "PhaseRequest":
    from coordinator.commands.durations import duration
    from coordinator.rotation.phases import PHASES
    from coordinator.rotation.publication import PhaseRequest
    from units.errors import Invalid

    known = {str(each): each for each in PHASES}
    if phase not in known:
        raise Invalid(
            "phase-unknown",
            f"--phase {phase!r}; allowed: {', '.join(PHASES)}",
            remedy="`coordinator trust status` says which is next",
        )
    return PhaseRequest(
        name,
        known[phase],
        ignored=frozenset(ignored or ()),
        settle=duration("--settle", settle),
        after=duration("--after", after) if after is not None else None,
    )


def _run(
    tools: "RotationTools", request: "PhaseRequest", signing: "SigningKeys | None", *, full: bool, json: bool
) -> None:
    """Published if there are keys to sign with."""
    from coordinator.diff_view import publication_json, show_publication
    from coordinator.operator import operator_name
    from coordinator.rotation.publication import PlannedPhase, prepare_phase, publish_phase

    planned = prepare_phase(request, tools)
    if not isinstance(planned, PlannedPhase):
        _tell_published(planned, json=json)
        return
    if not json:
        show_publication(planned.publication, full=full)
    committed = publish_phase(planned, tools, signing, by=operator_name()) if signing else None
    if json:
        serial = committed.state.note.serial if committed else None
        print_json(publication_json(planned.publication) | {"published": committed is not None, "serial": serial})
    else:
        _conclude(planned, committed)


def _tools(here: "Cluster", *, at_once: bool) -> "RotationTools":
    from coordinator.authorities import SecretMaker
    from coordinator.aws.kms import SCHEME as KMS
    from coordinator.commands.publish import terms_of
    from coordinator.passphrase import Passphrase
    from coordinator.preview import preview_group
    from coordinator.rehearsal import Rehearsals
    from coordinator.repository import utc_now
    from coordinator.rollouts_sight import departed_of
    from coordinator.rotation.publication import RotationTools
    from coordinator.rotation.waiting import Confirmations
    from coordinator.secrets_key import KmsSecretsKey, LocalSecretsKey, SecretsKey, open_local_key

    def secrets(document: "ClusterDocument") -> SecretMaker:
        key: SecretsKey
        if document.secrets_key.startswith(KMS):
            key = KmsSecretsKey(here.aws, document.secrets_key)
        else:
            key = LocalSecretsKey(open_local_key(here.directory, Passphrase()))
        return SecretMaker(here.directory, key, cluster=document.name, uid=document.uid, now=utc_now())

    rehearsals = Rehearsals()
    return RotationTools(
        repository=here.open_repository(),
        confirmations=Confirmations(here.directory),
        secrets=secrets,
        preview=lambda before, after: preview_group(before, after, rehearsals),
        clock=utc_now,
        terms=None if at_once else terms_of(here.spec, emergency=False),
        departed=departed_of(here),
    )


def _tell_published(rotation: "Rotation", *, json: bool) -> None:
    from coordinator.rotation.phases import command, next_phase

    if json:
        print_json({"published": False, "serial": rotation.serial, "phase": rotation.phase})
        return
    note(f"{rotation.name}: phase {rotation.phase} is published since {rotation.published} (serial {rotation.serial})")
    if rotation.phase != "retire":
        note(f"next, when every node has confirmed it: {command(rotation.name, next_phase(rotation))}")


def _conclude(planned: "PlannedPhase", committed: "Committed | None") -> None:
    from coordinator.rotation.phases import command

    request = planned.request
    if committed is None:
        note("nothing was published; run it again with --yes to sign and upload this")
        return
    say(f"published {request.name} {request.phase} as serial {committed.state.note.serial}, read back and verified")
    if any(change.reach and change.reach.in_waves for change in planned.publication.changes):
        note("the first wave is open; next: coordinator advance --watch")
    if advice := _NEXT.get((request.name, request.phase)):
        note(advice)
    if request.phase != "retire":
        following = command(request.name, "sign" if request.phase == "add" else "retire")
        note(f"next, when `coordinator trust status` shows that every node has confirmed it: {following}")
    else:
        note("back up the key directory; the old key's envelope in the store opens nothing any more")
