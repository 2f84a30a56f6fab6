"""`coordinator userdata`."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Keys, Region, StoreUrl
from coordinator.console import note

HELP = """Print the cloud-init user-data for a group's launch template: one line that enrols the machine.

It carries no secret. It pins the current root of trust and the least version that the machine may accept, so that a
thief of the bucket cannot serve an old state to a fresh machine. Print it again after every change of the root.

An image of ours reads that line from IMDS as data, early in the boot, and runs nothing. For any other image with
cloud-init and python3, publish the agent first (`coordinator agent-bundle publish`): then the user-data also installs
it, from the bucket, with the instance's own credentials, and only if its sha256 is the one printed here. Print it again
after every publish of a bundle; --line-only leaves that part out.

\b
--format:
  cloud-config   the default
  shell          a script; for images whose cloud-init is told to take nothing else
  mime           cloud-config as one part of a multipart, to put parts of your own beside

\b
Examples:
  coordinator userdata workers -f cluster.yaml
  coordinator userdata workers -f cluster.yaml | base64 -w0        for aws ec2 create-launch-template-version
  coordinator userdata workers -f cluster.yaml --line-only         though bundles are published
"""


class UserdataFormat(StrEnum):
    CLOUD_CONFIG = "cloud-config"
    SHELL = "shell"
    MIME = "mime"


def register(app: typer.Typer) -> None:
    app.command(help=HELP, short_help="Print the user-data that enrols a group's machines.")(userdata)


def userdata(
    *,
    group: Annotated[str, typer.Argument(help="The instance group.", show_default=False)],
    form: Annotated[
        UserdataFormat, typer.Option("--format", help="How cloud-init is told.")
    ] = UserdataFormat.CLOUD_CONFIG,
    line_only: Annotated[
        bool, typer.Option("--line-only", help="For images of ours: without what installs the agent elsewhere.")
    ] = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.assets import read_catalogue
    from coordinator.location import Where, locate
    from coordinator.userdata import Enrolment, render_userdata

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    enrolment = Enrolment(here.location, here.name, here.aws.region, here.aws.endpoint_url)
    repository = here.open_repository()
    state = repository.read()
    bundles = () if line_only else read_catalogue(repository, state).newest_agents
    sys.stdout.write(render_userdata(enrolment, group, state, form=form.value, bundles=bundles))
    if bundles:
        names = ", ".join(f"Python {bundle.platform}" for bundle in bundles)
        note(f"installs the agent on other images than ours, for {names}; an image of ours runs nothing of it")
