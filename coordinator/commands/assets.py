"""`coordinator assets add` and `list`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import note, print_json, say, show_table

if TYPE_CHECKING:
    from coordinator.assets import Added, Upload
    from coordinator.store import Store

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
    from coordinator.assets import label, record
    from coordinator.location import Where, locate
    from coordinator.operator import operator_name

    uploads = _uploads(files, name=name, path=path, mode=mode, image=image)
    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    repository = here.open_repository()
    repository.read()  # a wrong key directory shows before gigabytes are sent
    for added in _upload_all(repository.store, uploads):
        entry = added.upload.entry
        verb = "was there" if added.was_there else "uploaded"
        say(f"{label(entry)}  {verb}, {size_text(entry.size)}, sha256 {entry.sha256}")
    committed = record(repository, here.signing_keys(), [each.entry for each in uploads], by=operator_name())
    if committed is None:
        note("the catalogue has it already; nothing was signed")
    else:
        note(f"signed into the catalogue (targets {committed.state.targets.version}); the next publish uses it")


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


def _upload_all(store: "Store", uploads: "list[Upload]") -> "list[Added]":
    from coordinator.assets import upload_all
    from coordinator.console import upload_progress

    with upload_progress() as watch:
        return upload_all(store, uploads, watch)


def size_text(size: int) -> str:
    if size < 1024:
        return f"{size} B"
    value = size / 1024
    for unit in ("KiB", "MiB"):
        if value < 1024:
            return f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
