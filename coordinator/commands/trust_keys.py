"""`coordinator trust rotate root`, `targets` and `timestamp`: the keys that sign the repository."""

from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Keys, Region, StoreUrl
from coordinator.console import note, say, show_table, warn

if TYPE_CHECKING:
    from coordinator.location import Cluster
    from coordinator.rotation.next_root import RootRole
    from coordinator.rotation.roots import PlannedRoot, RootRequest, RootTools
    from coordinator.state import State

_HELP = """{what}

The next root is signed by the old root keys and by its own, so the threshold of root keys must be in the key directory.
Nodes follow by themselves. Stopped half way, run it again: it finishes, and makes nothing twice. Afterwards print
`coordinator userdata GROUP` again for every launch template: only the new pin keeps a fresh machine from an old root.

\b
Examples:
{examples}
"""
ROOT_HELP = _HELP.format(
    what="Replace one root key, or with --renew only the root's expiry.",
    examples="""  coordinator trust rotate root --replace root-1.pem -f cluster.yaml --yes
  coordinator trust rotate root --renew -f cluster.yaml --yes""",
)
TARGETS_HELP = _HELP.format(
    what="Replace the key that signs content. What its thief signs is refused from then on.",
    examples="""  coordinator trust rotate targets -f cluster.yaml --yes
  coordinator trust rotate targets --key awskms:arn:aws:kms:eu-west-1:111122223333:key/1234 -f cluster.yaml --yes""",
)
TIMESTAMP_HELP = _HELP.format(
    what="Replace the key that signs freshness (snapshot and timestamp), also to undo a thief's version numbers.",
    examples="""  coordinator trust rotate timestamp -f cluster.yaml --yes
  coordinator trust rotate timestamp --key awskms:arn:aws:kms:eu-west-1:111122223333:key/1234 -f cluster.yaml --yes""",
)

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Make the key, sign and upload.")]
NewKey = Annotated[
    str | None,
    typer.Option("--key", help="A P-256 KMS key; a new key file if left out.", metavar="awskms:ARN"),
]


def register(app: typer.Typer) -> None:
    app.command("root", help=ROOT_HELP, short_help="Replace a root key, or renew the root.")(rotate_root)
    app.command("targets", help=TARGETS_HELP, short_help="Replace the key that signs content.")(rotate_targets)
    app.command("timestamp", help=TIMESTAMP_HELP, short_help="Replace the key that signs freshness.")(rotate_timestamp)


def rotate_root(
    *,
    replace: Annotated[
        str | None, typer.Option("--replace", help="Which of several root keys goes.", metavar="FILE|KEYID")
    ] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Keep every key; only the expiry moves.")] = False,
    key: NewKey = None,
    yes: Yes = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.location import Where, locate
    from coordinator.rotation.roots import RootRequest

    if renew and (replace or key):
        raise typer.BadParameter("--renew keeps every key; leave out --replace and --key")
    request = RootRequest("root", key=key, replaced=replace, renew=renew)
    _run(locate(Where(file, store, cluster, region, endpoint_url, keys)), request, yes=yes)


def rotate_targets(
    *,
    key: NewKey = None,
    yes: Yes = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.location import Where, locate

    _run_role("targets", locate(Where(file, store, cluster, region, endpoint_url, keys)), key, yes=yes)


def rotate_timestamp(
    *,
    key: NewKey = None,
    yes: Yes = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.location import Where, locate

    _run_role("timestamp", locate(Where(file, store, cluster, region, endpoint_url, keys)), key, yes=yes)


def _run_role(role: "RootRole", here: "Cluster", key: str | None, *, yes: bool) -> None:
    from coordinator.rotation.roots import RootRequest

    _run(here, RootRequest(role, key=key), yes=yes)


def _run(here: "Cluster", request: "RootRequest", *, yes: bool) -> None:
    from coordinator.operator import operator_name
    from coordinator.rotation.roots import prepare_root
    from coordinator.rotation.roots import rotate_root as rotate_now

    tools = _tools(here)
    planned = prepare_root(request, tools)
    _show(planned)
    if not yes:
        note("nothing was made or published; run it again with --yes")
        return
    _conclude(rotate_now(request, tools, by=operator_name()), planned)


def _tools(here: "Cluster") -> "RootTools":
    from coordinator.aws import kms
    from coordinator.passphrase import Passphrase
    from coordinator.repository import utc_now
    from coordinator.rotation.roots import RootTools

    passphrase = Passphrase()
    return RootTools(
        store=here.open_store(),
        directory=here.directory,
        signing=here.signing_keys(passphrase),
        passphrase=passphrase,
        kms_public_key=lambda uri: kms.public_key(here.aws, uri),
        clock=utc_now,
    )


def _show(planned: "PlannedRoot") -> None:
    if planned.unfinished:
        warn("an earlier rotation was stopped half way: this finishes it, and begins no other")
    version = planned.state.root.version
    rows = [["goes", uri] for uri in planned.goes] + ([["comes", planned.comes]] if planned.comes else [])
    show_table(["KEY", "WHERE"], rows or [["none", "only the root's expiry moves"]], title=f"root {version + 1}")


def _conclude(state: "State", planned: "PlannedRoot") -> None:
    say(f"root {state.root.version}, read back and verified as a node at an older root would")
    note(f"expires:  {state.root.expires:%Y-%m-%d}")
    note("now:      coordinator userdata GROUP, for every group's launch template: the pin names this root")
    if planned.comes:
        note(
            "back up:  the key directory; bring the new key and root.json to every desk that signs, the refresher's too"
        )
    if planned.goes:
        note(f"of no use any more: {', '.join(planned.goes)}")
