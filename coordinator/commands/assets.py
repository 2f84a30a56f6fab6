"""`coordinator assets add` and `list`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.catalogue import add_to_catalogue, size_text
from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import print_json, show_table

if TYPE_CHECKING:
    from coordinator.assets import Upload

HELP = """Binaries and container images that nodes get, each named by its hash in the signed manifest."""
DEFAULT_DIRECTORY = "/usr/local/bin/"

ADD_HELP = """Upload files under their hash and sign them into the catalogue. The next publish uses them.

What is in the store already is not sent again. Of several assets with one name, publish takes the last one added, or
the one whose sha256 the spec pins under `assets`.

\b
Examples:
  coordinator assets add ./kubelet --name kubelet --path /usr/local/bin/kubelet
  coordinator assets add ./bridge ./host-local --path /opt/cni/bin/     each under its own file name
  coordinator assets add pause.tar --image registry.k8s.io/pause:3.10.2
"""

LIST_HELP = """Show the signed catalogue, oldest first.

\b
Example:
  coordinator assets list --json | jq -r '.assets[] | "\\(.name) \\(.sha256)"'
"""

app = typer.Typer(help=HELP, short_help="Upload and list binaries and images.", no_args_is_help=True)


@app.command(help=ADD_HELP, short_help="Upload files and sign them into the catalogue.")
def add(
    *,
    files: Annotated[list[Path], typer.Argument(help="Files to upload.", metavar="FILE...", show_default=False)],
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the asset. The file's own name if left out.")
    ] = None,
    path: Annotated[
        str, typer.Option("--path", help="Where nodes install it; with a / at the end, the directory.")
    ] = DEFAULT_DIRECTORY,
    mode: Annotated[str, typer.Option("--mode", help="Permissions on the node, octal.")] = "0755",
    image: Annotated[
        str | None,
        typer.Option("--image", help="The file is an image archive of this reference.", metavar="REFERENCE"),
    ] = None,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.location import Where, locate

    uploads = _uploads(files, name=name, path=path, mode=mode, image=image)
    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    add_to_catalogue(here, lambda: uploads, then="the next publish uses it")


@app.command("list", help=LIST_HELP, short_help="Show the signed catalogue.")
def list_assets(
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
        print_json(catalogue.model_dump(mode="json", include={"assets", "images"}))
        return
    rows = [[a.name, a.path, f"{a.mode:04o}", size_text(a.size), a.sha256] for a in catalogue.assets]
    rows += [[i.reference, "(image)", "", size_text(i.size), i.sha256] for i in catalogue.images]
    show_table(["NAME", "INSTALLED AS", "MODE", "SIZE", "SHA256"], rows)


def _uploads(files: list[Path], *, name: str | None, path: str, mode: str, image: str | None) -> "list[Upload]":
    from coordinator.assets import describe_asset, describe_image

    if image is not None:
        if len(files) != 1 or name or path != DEFAULT_DIRECTORY:
            raise typer.BadParameter("--image takes one file, and neither --name nor --path")
        return [describe_image(files[0], reference=image)]
    if len(files) > 1 and (name or not path.endswith("/")):
        raise typer.BadParameter("several files take a --path that ends with /, and no --name")
    try:
        permissions = int(mode, 8)
    except ValueError:
        raise typer.BadParameter(f"--mode {mode!r}: an octal number such as 0755 is allowed") from None
    return [
        describe_asset(
            each,
            name=name or each.name,
            install_path=f"{path}{name or each.name}" if path.endswith("/") else path,
            mode=permissions,
        )
        for each in files
    ]
