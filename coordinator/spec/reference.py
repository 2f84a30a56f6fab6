"""docs/spec.md, written from the schema: `python -m coordinator.spec.reference > docs/spec.md`."""

import json
import sys
from collections.abc import Iterator
from typing import Any

from coordinator.spec.flags import OWNED, REMOVED, UNWISE
from coordinator.spec.kubelet_fields import OWNED as OWNED_FIELDS
from coordinator.spec.schema import resolved, spec_schema

_INTRODUCTION = """\
# cluster.yaml

<!-- Written by `python -m coordinator.spec.reference`, compared by a test: change the models in coordinator/spec. -->

One file describes one cluster. `examples/minimal/cluster.yaml` is a whole one in under 30 lines,
`examples/ha-private/` one over three zones whose ids come from Terraform.

    coordinator schema > cluster.schema.json                    for your editor
    coordinator template --values VALUES.json cluster.yaml.j2   a spec with values filled in
    coordinator publish -f cluster.yaml                         check, show what would change

To let VS Code, Neovim or IntelliJ complete and check as you type (they use yaml-language-server), put this first:

    # yaml-language-server: $schema=./cluster.schema.json

## How the file is read

* Unknown fields are errors, and so is a key that is written twice. All errors come at once, each with its line, its
  path, what was found and what is allowed; the exit code is 2 and nothing is written.
* Words that YAML 1.1 and 1.2 read differently are refused without quotes: `yes`, `no`, `on`, `off`, numbers with a
  leading zero (`0644`), and numbers with colons (`12:30`).
* Anchors, aliases and `<<` work. Tags (`!!int`) do not. Up to 1 MiB, one document.
* What is left out gets the default shown below. Sizes, zones and etcd members follow from the instance groups.

## Templates

`coordinator template` renders a spec with Jinja2. A name or key that is not there is an error that says what is there;
nothing becomes an empty string silently. Expressions run in a sandbox and cannot read files.

* The values are a JSON object. An entry `{"value": ..., "type": ..., "sensitive": ...}`, as `terraform output -json`
  and `tofu output -json` print them, stands for its value. There is no flag for it: any object with `value` and nothing
  but `type` and `sensitive` beside it counts.
* What an expression gives is written so that YAML reads it back: `true`, `null`, lists and objects as JSON. Put
  `| tojson` behind a text that may hold a colon, a quote or a line break.

## Fields
"""
_APPENDIX = """
## What is refused in free-form fields

Beside these, a misspelt kubelet field is refused (kubelet would ignore it without a word), and so is a flag that is
nearly a known one (the program would not start).
"""


def spec_reference() -> str:
    """The text of docs/spec.md."""
    schema = spec_schema()
    return _INTRODUCTION + "".join(_section("", schema)) + _APPENDIX + "".join(_refused())


def _section(path: str, schema: dict[str, Any]) -> Iterator[str]:
    """The table of one mapping, and after it those of the mappings inside it."""
    inside: dict[str, tuple[str, dict[str, Any]]] = {}
    yield f"\n### {path or 'The document'}\n\n{_line(schema.get('description', ''))}\n\n"
    yield "| Field | Type | Default | |\n| --- | --- | --- | --- |\n"
    for key, raw in schema["properties"].items():
        field = resolved(raw)
        name = f"{path}.{key}" if path else key
        default = "**required**" if key in schema.get("required", ()) else _default(raw)
        yield f"| `{key}` | {_type(field)} | {default} | {_line(field.get('description', ''))} |\n"
        item = resolved(field["items"]) if field.get("type") == "array" else field
        if "properties" in item:
            label = name if item is field else f"{name}[]"
            # One table for mappings that are alike: the programs under `components`.
            others = f"{inside[item['title']][0]}, " if item["title"] in inside else ""
            inside[item["title"]] = (others + label, item)
    for name, mapping in inside.values():
        yield from _section(name, mapping)


def _refused() -> Iterator[str]:
    """What kubelet fields and flags are refused, and where to turn instead."""
    tables = {"instanceGroups[].kubelet": {field: f"set by {owner}" for field, owner in OWNED_FIELDS.items()}}
    for component in REMOVED:
        tables[f"components.{component}.extraArgs"] = (
            {flag: f"set by {owner}" for flag, owner in OWNED[component].items()}
            | UNWISE[component]
            | {
                flag: f"removed {f'in 1.{removed.minor}' if removed.minor else 'before 1.31'}: {removed.instead}"
                for flag, removed in REMOVED[component].items()
            }
        )
    for name, table in tables.items():
        yield f"\n### {name}\n\n| Refused | |\n| --- | --- |\n"
        yield from (f"| `{word}` | {_line(why)} |\n" for word, why in sorted(table.items()))


def _type(field: dict[str, Any]) -> str:
    kind = field.get("type")
    if "const" in field or "enum" in field:
        text = " \\| ".join(f"`{word}`" for word in field.get("enum", [field.get("const")]))
    elif kind == "array":
        item = resolved(field["items"])
        text = "list" if "properties" in item else f"list of {_type(item)}"
    elif kind == "object":
        text = "mapping"
    elif kind == "integer":
        text = f"{field['minimum']} to {field['maximum']}"
    elif kind == "boolean":
        text = "true \\| false"
    else:
        text = f"text, like `{field['examples'][0]}`" if "examples" in field else "text"
    return text


def _default(raw: dict[str, Any]) -> str:
    default = raw.get("default")
    if default is None or default in ([], {}) or isinstance(default, dict):
        return "-"
    return f"`{default}`" if isinstance(default, str) else f"`{json.dumps(default)}`"


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(spec_reference())
