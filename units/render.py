"""Values to text, deterministically: stable order, newline at the end, readable by a person."""

import json
import re
from collections.abc import Sequence
from typing import Any

import jinja2
import yaml


class _Dumper(yaml.SafeDumper):
    """Indents lists under their key and writes multi-line strings as blocks, as Kubernetes users write YAML."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002 (PyYAML's)
        del indentless
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:
        del data
        return True


# Plain text for PyYAML's YAML 1.1, but a number or a truth value for the Go libraries that read it: `1e3`, `0o17`, `y`.
_NOT_TEXT_IN_GO = re.compile(r"[-+]?(\.[0-9]+|[0-9_]+(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?0[xob][0-9a-fA-F_]+|[yYnN]")


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else "'" if _NOT_TEXT_IN_GO.fullmatch(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _represent_text)


_DUMPED: dict[str, str] = {}  # PyYAML's emitter is slow (5 ms for a static pod), and a fleet's files are much alike
_MOST_DUMPED = 256


def yaml_text(value: Any) -> str:
    """YAML in the order the dict was written: kind first, as people read it."""
    key = repr(value)  # tells 1 from "1" and from True, as equality of dicts would not
    text = _DUMPED.get(key)
    if text is None:
        if len(_DUMPED) >= _MOST_DUMPED:
            _DUMPED.clear()
        text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=False, width=120)
        _DUMPED[key] = text
    return text


def yaml_value(text: str) -> dict[str, Any]:
    """A document of ours, read back."""
    return dict(yaml.safe_load(text))


def yaml_line(text: str, place: Sequence[str | int]) -> int:
    """The line, from 1, where the value at a place begins; of a place that is not there, that of what holds it."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 1
    for step in place:
        found = _below(node, step)
        if found is None:
            break
        line, node = found
    return line


def _below(node: Any, step: str | int) -> tuple[int, Any] | None:
    """Line and value of one step; the line is the key's, for a mapping may begin a line below it."""
    if isinstance(node, yaml.MappingNode):
        pairs = ((key, value) for key, value in node.value if key.value == step)
        return next(((key.start_mark.line + 1, value) for key, value in pairs), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line + 1, node.value[step]
    return None


def json_text(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("units", "templates"),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701 (systemd units and TOML, never HTML; values are validated by the manifest's models)
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def template_text(name: str, **values: Any) -> str:
    """A file of units/templates with its values; an undefined one is an error."""
    return _TEMPLATES.get_template(name).render(**values)


def flags(arguments: dict[str, str]) -> list[str]:
    """`--name=value`, sorted: the same set is always the same text."""
    return [f"--{name}={value}" for name, value in sorted(arguments.items())]
