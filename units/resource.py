"""A resource is a noun with two verbs: `check` only looks, `apply` only makes it so."""

from dataclasses import dataclass
from typing import Protocol

from units.host import Host


@dataclass(frozen=True, slots=True)
class Change:
    """What `apply` would do. `diff` is for people and holds no secret (digests stand in for content)."""

    summary: str
    diff: str = ""


@dataclass(frozen=True, slots=True)
class Description:
    """A resource as text, for reviews: what `publish` compares line by line. Holds no secret."""

    key: str
    lines: tuple[str, ...]


class Resource(Protocol):
    @property
    def key(self) -> str:
        """`kind:name`, unique in a plan: `file:/etc/hosts`, `unit:kubelet.service`."""

    def check(self, host: Host) -> Change | None:
        """What is missing, or None. Never changes anything."""

    def apply(self, host: Host) -> None:
        """Make it so. Afterwards `check` returns None, else the run counts it as failed."""

    def describe(self) -> Description: ...
