"""`coordinator kubeconfig`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.options import EndpointUrl, File, Keys, Region, StoreUrl
from coordinator.console import note, warn

if TYPE_CHECKING:
    from coordinator.kubeconfig import Unwrap
    from coordinator.location import Cluster

HELP = """Print a kubeconfig with a client certificate that dies by itself.

The administrator's group is kubeadm:cluster-admins, --read-only's is bootwright:viewers (ClusterRole view), both bound
by the cluster's RBAC. With --user you name a person, and with --group what your own RBAC binds.

\b
Examples:
  coordinator kubeconfig -f cluster.yaml > ~/.kube/config
  coordinator kubeconfig -f cluster.yaml --read-only --ttl 7d > dashboard.kubeconfig
  coordinator kubeconfig -f cluster.yaml --user jane@example.com --group team-a
  coordinator kubeconfig -f cluster.yaml --break-glass --ttl 30m > incident.kubeconfig
"""


def register(app: typer.Typer) -> None:
    app.command(help=HELP, short_help="Print a short-lived kubeconfig: administrator, reader, or a person.")(kubeconfig)


def kubeconfig(
    *,
    ttl: Annotated[
        str | None, typer.Option("--ttl", help="How long it is good for: 30m, 18h, 7d. 18h if left out.")
    ] = None,
    user: Annotated[str, typer.Option("--user", help="The person it names.", metavar="NAME")] = "",
    group: Annotated[
        list[str] | None, typer.Option("--group", help="A group of that person; may be repeated.", metavar="GROUP")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Look at everything but secrets.")] = False,
    break_glass: Annotated[
        bool, typer.Option("--break-glass", help="system:masters, for when RBAC itself is broken; an hour at most.")
    ] = False,
    file: File = None,
    store: StoreUrl = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.commands.durations import duration
    from coordinator.kubeconfig import KubeconfigRequest, Person, certificate_request, make_kubeconfig
    from coordinator.location import Where, locate
    from coordinator.repository import utc_now
    from units.errors import Invalid
    from units.names import url_host

    lifetime = duration("--ttl", ttl or ("1h" if break_glass else "18h"))
    person = Person(user, tuple(group or ()), read_only, break_glass)
    certificate_request(person, lifetime)  # what is wrong with it shows before any passphrase is asked for
    here = locate(Where(file, store, None, region, endpoint_url, keys))
    if here.spec is None:
        raise Invalid(
            "spec-needed", "kubeconfig needs the spec, which names the API endpoint", remedy="-f cluster.yaml"
        )
    server = f"https://{url_host(here.spec.api_host)}:{here.spec.api.port}"
    request = KubeconfigRequest(here.name, server, lifetime, person)
    made = make_kubeconfig(here.open_repository(), request, _unwrap(here), utc_now())
    sys.stdout.write(made.text)
    note(f"{made.user} ({', '.join(made.groups) or 'no group'}) of {here.name} at {server}, for {lifetime}")
    if break_glass:
        warn("nothing can take this certificate's rights away before it expires: delete the file when you are done")


def _unwrap(here: "Cluster") -> "Unwrap":
    import base64

    from coordinator.aws.kms import decrypt_data_key
    from coordinator.passphrase import Passphrase
    from coordinator.secrets_key import open_local_key
    from units.envelope import Envelope, unwrap_locally

    def unwrap(envelope: Envelope) -> bytes:
        if envelope.key.startswith("awskms:"):
            wrapped = base64.b64decode(envelope.wrapped_key)
            return decrypt_data_key(here.aws, envelope.key, wrapped, envelope.context.as_kms())
        return unwrap_locally(envelope, local_key=open_local_key(here.directory, Passphrase()))

    return unwrap
