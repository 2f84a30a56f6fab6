"""`coordinator agent-bundle publish` and `list`."""

from pathlib import Path
from typing import Annotated

import typer

from coordinator.commands.assets import size_text
from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import note, print_json, say, show_table

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
    from coordinator.assets import label, record, upload_all
    from coordinator.console import upload_progress
    from coordinator.location import Where, locate
    from coordinator.operator import operator_name

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    repository = here.open_repository()
    repository.read()  # a wrong key directory shows before anything is sent
    with TemporaryDirectory(prefix="bootwright-") as scratch, upload_progress() as watch:
        upload = make_bundle(wheelhouse, packer, Path(scratch) / "agent.tar")
        (added,) = upload_all(repository.store, [upload], watch)
    entry = added.upload.entry
    verb = "was there" if added.was_there else "uploaded"
    say(f"{label(entry)}  {verb}, {size_text(entry.size)}, sha256 {entry.sha256}")
    committed = record(repository, here.signing_keys(), [entry], by=operator_name())
    if committed is None:
        note("the catalogue has it already; nothing was signed")
    else:
        note(f"signed into the catalogue (targets {committed.state.targets.version}); print the user-data again")


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
