"""A check is a value: a name, the code of its refusal, and a function that says what is wrong.

Because the rules are tables of values, tests take one out at a time and show that an attack then gets through.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from agent.issuer.codes import refused

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class Check(Generic[Subject]):
    """`complaint` says what was found and what is allowed, or "" if all is well. Names begin with trust.md's number."""

    name: str
    code: str
    complaint: Callable[[Subject], str]


def require(checks: Iterable[Check[Subject]], subject: Subject) -> None:
    """Raises Refused for the first check that does not hold: later ones may rely on earlier ones."""
    for check in checks:
        if wrong := check.complaint(subject):
            raise refused(check.code, f"{wrong} [{check.name}]")
