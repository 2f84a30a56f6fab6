"""The values a template is rendered with: a JSON object, or what `terraform output -json` prints."""

import json
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any

from coordinator.spec.loading import read_text
from coordinator.spec.problems import SpecInvalid, SpecProblem

Values = Mapping[str, Any]
_REMEDY = "for example: terraform output -json > values.json"


def read_values(source: FilePath | str) -> dict[str, Any]:
    """The values in a JSON file, or (a str) in JSON text. Raises SpecInvalid."""
    subject = str(source) if isinstance(source, FilePath) else "the values"
    try:
        values = json.loads(read_text(source))
    except json.JSONDecodeError as error:
        problem = SpecProblem.of((), error.lineno, error.msg.lower(), "a JSON object", _REMEDY)
        raise SpecInvalid(subject, [problem]) from error
    except (RecursionError, ValueError) as error:  # nesting without end; a number of thousands of digits
        problem = SpecProblem.of((), None, "JSON out of all proportion", "a JSON object", _REMEDY)
        raise SpecInvalid(subject, [problem]) from error
    if not isinstance(values, dict):
        problem = SpecProblem.of((), 1, f"a {type(values).__name__}", "a JSON object: {name: value}", _REMEDY)
        raise SpecInvalid(subject, [problem])
    return values


def unwrapped(values: Values) -> dict[str, Any]:
    """Terraform's and OpenTofu's outputs as plain values.

    An entry that is an object with `value`, and nothing but `type` and `sensitive` beside it, is replaced by its value.
    Everything else stays as it is.
    """
    return {name: entry["value"] if _is_output(entry) else entry for name, entry in values.items()}


def _is_output(entry: object) -> bool:
    return isinstance(entry, dict) and "value" in entry and entry.keys() <= {"value", "type", "sensitive"}
