"""JSON from a stranger: the last of two equal keys wins silently in json.loads, and NaN is no JSON at all."""

import json
from dataclasses import dataclass
from typing import Any

from agent.issuer.codes import refused


@dataclass(frozen=True, slots=True)
class Document:
    """`duplicates`: keys that one object of the text holds twice."""

    value: Any
    duplicates: tuple[str, ...]

    def fields(self) -> frozenset[str]:
        """The names in the outermost object; none if it is no object."""
        return frozenset(self.value) if isinstance(self.value, dict) else frozenset()

    def get(self, name: str) -> Any:
        return self.value.get(name) if isinstance(self.value, dict) else None


def read_document(raw: bytes, *, code: str) -> Document:
    """Refused with `code` for what is no JSON in UTF-8."""
    duplicates: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in found]
        duplicates.extend(name for name in set(names) if names.count(name) > 1)
        return dict(found)

    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=pairs, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise refused(code, f"not JSON: {type(error).__name__}") from error
    return Document(value, tuple(duplicates))


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number in JSON")
