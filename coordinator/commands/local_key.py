"""`coordinator local-key`."""

from pathlib import Path
from typing import Annotated

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Keys, Region, StoreUrl
from coordinator.console import note, warn

HELP = """Write the local secrets key for control-plane nodes: 32 bytes in the clear, mode 0600. Only without KMS.

A control-plane node opens the cluster's CA keys with it, and looks for it in /etc/bootwright/secrets.key (owner root,
mode 0600). Whoever has this file and the bucket owns the cluster: carry it safely, and delete the copy.

\b
Example:
  coordinator local-key --out ./secrets.key -f cluster.yaml
"""


def register(app: typer.Typer) -> None:
    app.command("local-key", help=HELP, short_help="Write the local secrets key for nodes, without KMS.")(local_key)


def local_key(
    *,
    out: Annotated[Path, typer.Option("--out", help="The file to make; it must not exist.", metavar="FILE")],
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.location import Where, locate
    from coordinator.passphrase import Passphrase
    from coordinator.secrets_key import open_local_key, write_for_node
    from units.envelope import local_key_name

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    key = open_local_key(here.directory, Passphrase())
    write_for_node(key, out, directory=here.directory)
    note(f"{out}: {local_key_name(key)}; put it on control-plane nodes as /etc/bootwright/secrets.key, root, 0600")
    warn("the file is in the clear: delete it when the nodes have it")
