"""Arguments that many commands share."""

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[
    Path | None,
    typer.Option(
        "-f", "--file", envvar="BOOTWRIGHT_SPEC", help="The spec. ./cluster.yaml if left out.", metavar="FILE"
    ),
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="BOOTWRIGHT_STORE",
        help="s3://BUCKET[/PREFIX] or file:///DIRECTORY, instead of the spec's.",
        metavar="URL",
    ),
]
ClusterName = Annotated[
    str | None,
    typer.Option("--cluster", envvar="BOOTWRIGHT_CLUSTER", help="The cluster's name, without a spec.", metavar="NAME"),
]
Region = Annotated[str | None, typer.Option("--region", help="AWS region, instead of the spec's.", metavar="REGION")]
EndpointUrl = Annotated[
    str | None,
    typer.Option("--endpoint-url", help="One address for all AWS services: a local test region.", metavar="URL"),
]
Keys = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        envvar="BOOTWRIGHT_KEYS",
        help="Key directory. ~/.config/bootwright/CLUSTER if left out.",
        metavar="DIR",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")]
