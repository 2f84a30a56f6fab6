"""One thing wrong with a spec, and the error that carries all of them at once."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from units.errors import Invalid, Problem

MOST_SHOWN = 500  # nobody reads more, and a file that is no spec at all can have fifty thousand
Path = tuple[str | int, ...]
"""Where in the document: the keys and indexes from the root."""


@dataclass(frozen=True, slots=True)
class SpecProblem(Problem):
    """Where (`path`, `line`), what was `found`, what is `allowed`, and what to do about it (`remedy`, may be empty)."""

    found: str = ""
    allowed: str = ""
    remedy: str = ""
    at: Path = ()

    @classmethod
    def of(cls, path: Path, line: int | None, found: str, allowed: str, remedy: str = "") -> Self:
        message = f"found {found}; allowed: {allowed}" + (f" ({remedy})" if remedy else "")
        return cls(path_text(path), message, line, found, allowed, remedy, path)


class SpecInvalid(Invalid):
    """The spec, or the template of one, cannot be used. `problems` lists what is wrong with it, up to MOST_SHOWN."""

    problems: tuple[SpecProblem, ...]

    def __init__(self, subject: str, problems: Iterable[SpecProblem]) -> None:
        ordered = tuple(sorted(problems, key=lambda problem: (problem.line or 0, problem.path)))
        count = "1 problem" if len(ordered) == 1 else f"{len(ordered)} problems"
        if len(ordered) > MOST_SHOWN:
            count += f", of which the first {MOST_SHOWN}"
        super().__init__(
            "spec-invalid",
            f"{subject}: {count}",
            remedy="correct the lines above; `coordinator schema` and docs/spec.md describe every field",
            problems=ordered[:MOST_SHOWN],
        )


def path_text(path: Path) -> str:
    """`instanceGroups[2].labels["example.com/pool"]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]{1,64}", step):
            text += f".{step}" if text else step
        else:
            text += f"[{shown(step)}]"
    return text


def shown(value: str, longest: int = 60) -> str:
    """A value in quotes for a message: short, on one line, and never a private key."""
    if "PRIVATE KEY" in value:
        return "a private key (not shown)"
    # A URL or image reference with a password in it must not end up in a CI log.
    value = re.sub(r"(://)[^/@\s]*@", r"\1***@", value)
    cut = value if len(value) <= longest else value[: longest - 3] + "..."
    return '"' + "".join(char if char.isprintable() else repr(char)[1:-1] for char in cut) + '"'
