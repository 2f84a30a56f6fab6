"""`coordinator schema` and `coordinator template`: help with writing a spec."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from coordinator.console import print_json

SCHEMA_HELP = """Print the JSON Schema of cluster.yaml, for editors that check while you type.

\b
Example:
  coordinator schema > cluster.schema.json
  # then, as the first line of cluster.yaml:
  # yaml-language-server: $schema=cluster.schema.json
"""

TEMPLATE_HELP = """Render a spec from a Jinja2 template and values such as Terraform's outputs.

A name that the values lack is an error, not an empty string.

\b
Example:
  terraform output -json > values.json
  coordinator template --values values.json cluster.yaml.j2 > cluster.yaml
"""


def register(app: typer.Typer) -> None:
    app.command(help=SCHEMA_HELP, short_help="Print the JSON Schema of cluster.yaml.")(schema)
    app.command(help=TEMPLATE_HELP, short_help="Render a spec from a template and values.")(template)


def schema() -> None:
    from coordinator.spec import spec_schema

    print_json(spec_schema())


def template(
    source: Annotated[Path, typer.Argument(help="The template.", metavar="TEMPLATE", show_default=False)],
    values: Annotated[
        Path, typer.Option("--values", help="A JSON object, or `terraform output -json`.", metavar="FILE")
    ],
) -> None:
    from coordinator.spec import read_values, render_template
    from coordinator.spec.loading import read_text

    sys.stdout.write(render_template(read_text(source), read_values(values)))
