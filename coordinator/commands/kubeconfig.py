"""`coordinator kubeconfig`."""

import re
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.options import EndpointUrl, File, Keys, Region, StoreUrl
from coordinator.console import note

if TYPE_CHECKING:
    from coordinator.kubeconfig import Unwrap
    from coordinator.location import Cluster

HELP = """Print an administrator's kubeconfig with a client certificate that dies by itself.

The certificate's group is kubeadm:cluster-admins, bound by the cluster's RBAC; it is never system:masters.

\b
Examples:
  coordinator kubeconfig -f cluster.yaml > ~/.kube/config
  coordinator kubeconfig -f cluster.yaml --ttl 30m > incident.kubeconfig
"""

_TTL = re.compile(r"^([1-9][0-9]{0,4})(m|h|d)$")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def register(app: typer.Typer) -> None:
    app.command(help=HELP, short_help="Print a short-lived administrator's kubeconfig.")(kubeconfig)


def kubeconfig(
    *,
    ttl: Annotated[str, typer.Option("--ttl", help="How long it is good for: 30m, 18h, 7d.")] = "18h",
    file: File = None,
    store: StoreUrl = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.kubeconfig import KubeconfigRequest, make_kubeconfig
    from coordinator.location import Where, locate
    from coordinator.repository import utc_now
    from units.errors import Invalid
    from units.names import url_host

    lifetime = _lifetime(ttl)
    here = locate(Where(file, store, None, region, endpoint_url, keys))
    if here.spec is None:
        raise Invalid(
            "spec-needed", "kubeconfig needs the spec, which names the API endpoint", remedy="-f cluster.yaml"
        )
    server = f"https://{url_host(here.spec.api_host)}:{here.spec.api.port}"
    request = KubeconfigRequest(here.name, server, lifetime)
    text = make_kubeconfig(here.open_repository(), request, _unwrap(here), utc_now())
    sys.stdout.write(text)
    note(f"kubernetes-admin of {here.name} at {server}, good for {ttl}")


def _lifetime(ttl: str) -> timedelta:
    from units.errors import Invalid

    found = _TTL.match(ttl)
    if not found:
        raise Invalid("ttl-invalid", f"--ttl {ttl!r}: a number with m, h or d is allowed", remedy="--ttl 18h")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


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
