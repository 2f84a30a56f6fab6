"""What a commit changes: a value that `decide` makes from the state it was given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coordinator.layout import target_key
from coordinator.state import Lifetimes, State
from coordinator.tuf_api import TargetFile


@dataclass(frozen=True, slots=True)
class NewTarget:
    body: bytes = field(repr=False)
    custom: Mapping[str, Any] = field(default_factory=dict)

    def target_file(self, path: str) -> TargetFile:
        target = TargetFile.from_data(path, self.body, ["sha256"])
        if self.custom:
            target.unrecognized_fields["custom"] = dict(self.custom)
        return target

    def key(self, path: str) -> str:
        return target_key(path, self.target_file(path).hashes["sha256"])


@dataclass(frozen=True, slots=True)
class Draft:
    """`what` and `by` are for people; they are signed and shown by `coordinator history`."""

    what: str
    by: str
    targets: Mapping[str, NewTarget] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    serial: int | None = None  # None: no release was made, the last serial stays
    lifetimes: Lifetimes | None = None  # None: as before


Decide = Callable[[State], Draft | None]  # called again with the new state whenever somebody else was faster
