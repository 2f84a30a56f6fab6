"""`coordinator userdata`."""

import sys
from typing import Annotated

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Keys, Region, StoreUrl

HELP = """Print the cloud-init user-data for a group's launch template: one line that enrols the machine.

It carries no secret. It pins the current root of trust and the least version that the machine may accept, so that a
thief of the bucket cannot serve an old state to a fresh machine. Print it again after every change of the root.

\b
Examples:
  coordinator userdata workers -f cluster.yaml
  coordinator userdata workers -f cluster.yaml | base64 -w0        for aws ec2 create-launch-template-version
"""


def register(app: typer.Typer) -> None:
    app.command(help=HELP, short_help="Print the user-data that enrols a group's machines.")(userdata)


def userdata(
    *,
    group: Annotated[str, typer.Argument(help="The instance group.", show_default=False)],
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.location import Where, locate
    from coordinator.userdata import Enrolment, render_userdata

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    enrolment = Enrolment(here.location, here.name, here.aws.region, here.aws.endpoint_url)
    sys.stdout.write(render_userdata(enrolment, group, here.open_repository().read()))
