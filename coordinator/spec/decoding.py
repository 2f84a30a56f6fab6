"""A tree of YAML -> ClusterSpec, every wrong field reported. What is right is kept, for the rules to look at."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from coordinator.spec.cluster import ClusterSpec
from coordinator.spec.explaining import explain, is_about_a_key
from coordinator.spec.problems import Path, SpecProblem
from coordinator.spec.schema import example_at, needs
from coordinator.spec.yaml_tree import Fields, plain_value

_ROUNDS = 8  # each replaces what the one before found wrong; three have been the most that a real spec needed


@dataclass(frozen=True)
class Decoded:
    """`spec` is the input with everything at the paths in `replaced` exchanged for a default or an example."""

    spec: ClusterSpec | None
    problems: tuple[SpecProblem, ...]
    replaced: frozenset[Path]


def decode(root: Fields, already_wrong: Collection[Path] = ()) -> Decoded:
    """Decode `root`. Problems at the paths in `already_wrong` have been reported and are not reported again."""
    data = plain_value(root)
    problems: dict[Path, SpecProblem] = {}
    replaced: set[Path] = {path for path in already_wrong if path}
    exchanged: set[Path] = set()
    for _ in range(_ROUNDS):
        try:
            spec = ClusterSpec.model_validate_json(json.dumps(data), by_alias=True, by_name=False)
        except ValidationError as error:
            wrong = [(_path(details), details) for details in error.errors(include_url=False) if _is_real(details)]
        else:
            return Decoded(spec, tuple(problems.values()), frozenset(replaced))
        before = frozenset(replaced)
        # Deepest and last first: taking an item out of a list must not move one that is still to be looked at.
        for path, details in sorted(wrong, key=lambda each: _order(each[0]), reverse=True):
            if not overlaps(path, before):
                problems.setdefault(path, explain(details, path, root))
            if details["type"] == "extra_forbidden":
                _remove(data, path)
            else:
                _replace(data, path, again=path in exchanged)
                # An item that was taken out of a list has moved those behind it: nothing in the list is where it was.
                replaced.add(path[:-1] if path in exchanged and isinstance(path[-1], int) else path)
                exchanged.add(path)
    return Decoded(None, tuple(problems.values()), frozenset(replaced))


def overlaps(path: Path, others: Collection[Path]) -> bool:
    """Whether `path` is, lies in, or contains one of `others`."""
    return any(path[: len(other)] == other or other[: len(path)] == path for other in others)


def _path(details: ErrorDetails) -> Path:
    return details["loc"][:-1] if is_about_a_key(details) else details["loc"]


def _is_real(details: ErrorDetails) -> bool:
    """Whether it is an error of the input. A list whose every item is wrong is too short as well, to pydantic."""
    return details["type"] != "too_short" or len(details["input"]) < details["ctx"]["min_length"]


def _order(path: Path) -> list[tuple[bool, int, str]]:
    return [(isinstance(step, int), step if isinstance(step, int) else 0, str(step)) for step in path]


def _replace(data: Any, path: Path, *, again: bool) -> None:
    if not needs(path) or again:
        _remove(data, path)
    elif path:
        _container(data, path)[path[-1]] = example_at(path)


def _remove(data: Any, path: Path) -> None:
    container = _container(data, path) if path else None
    if isinstance(container, dict):
        container.pop(path[-1], None)
    elif isinstance(container, list) and isinstance(path[-1], int):
        del container[path[-1] : path[-1] + 1]


def _container(data: Any, path: Path) -> Any:
    for step in path[:-1]:
        data = data[step]
    return data
