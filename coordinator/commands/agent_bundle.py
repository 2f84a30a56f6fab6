"""`coordinator agent-bundle publish` and `list`."""

from pathlib import Path
from typing import Annotated

import typer

from coordinator.commands.catalogue import add_to_catalogue, size_text
from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import print_json, show_table

HELP = """The agent itself, for images that were not baked: user-data installs it from the bucket, by its hash."""

PUBLISH_HELP = """Upload the agent for one Python on one kind of machine, and sign its hash into the catalogue.

WHEELHOUSE is what an image build installs from: bootwright's wheel, its locked dependencies as wheels, and
requirements.txt with their hashes. Of two bundles for one Python and machine, `coordinator userdata` names the newer.
Publish one for each Python that your images have (Debian 13: 3.13, Ubuntu 24.04: 3.12, Debian 12: 3.11; the agent needs
3.11), and print the user-data again.

\b
Examples:
  python -m tests.lab.wheelhouse ./wheels                            for Debian 13 on x86_64
  coordinator agent-bundle publish ./wheels -f cluster.yaml
  coordinator userdata workers -f cluster.yaml
"""

LIST_HELP = """Show the published bundles, oldest first.

\b
Example:
  coordinator agent-bundle list --json | jq -r '.agents[] | "\\(.python) \\(.machine) \\(.sha256)"'
"""

app = typer.Typer(help=HELP, short_help="The agent for images that were not baked.", no_args_is_help=True)


@app.command(help=PUBLISH_HELP, short_help="Upload the agent and sign its hash.")
def publish(
    *,
    wheelhouse: Annotated[Path, typer.Argument(help="Folder of wheels.", show_default=False)],
    packer: Annotated[Path, typer.Option("--packer", help="Folder of install.sh and rootfs/.")] = Path("packer"),
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from tempfile import TemporaryDirectory

    from coordinator.agent_bundle import make_bundle
    from coordinator.location import Where, locate

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    with TemporaryDirectory(prefix="bootwright-") as scratch:
        bundle = Path(scratch) / "agent.tar"
        add_to_catalogue(here, lambda: [make_bundle(wheelhouse, packer, bundle)], then="print the user-data again")


@app.command("list", help=LIST_HELP, short_help="Show the published bundles.")
def list_bundles(
    *,
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.assets import read_catalogue
    from coordinator.location import Where, locate

    repository = locate(Where(file, store, cluster, region, endpoint_url, keys)).open_repository()
    catalogue = read_catalogue(repository, repository.read())
    if json:
        print_json(catalogue.model_dump(mode="json", include={"agents"}))
        return
    rows = [(one.python, one.machine, one.version, size_text(one.size), one.sha256) for one in catalogue.agents]
    show_table(("PYTHON", "MACHINE", "VERSION", "SIZE", "SHA256"), rows)
