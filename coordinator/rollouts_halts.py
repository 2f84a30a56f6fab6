"""Halt objects: `halt/GROUP` in the store. Whoever is on call may stop a rollout without any signing key.

They can only stop, so nothing needs to prove who wrote one.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from coordinator.layout import HALT, halt_key
from coordinator.store import Store
from units.errors import Fatal

MAX_BYTES = 4096


class Halt(BaseModel):
    """For people; nodes look only whether it is there."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    who: str = ""
    when: str = ""  # RFC 3339, UTC
    why: str = ""

    def __str__(self) -> str:
        said = f"by {self.who or 'somebody'}{f' at {self.when}' if self.when else ''}"
        return f"{said}: {self.why}" if self.why else said


def put_halts(store: Store, groups: Iterable[str], halt: Halt) -> None:
    for group in groups:
        store.put(halt_key(group), (halt.model_dump_json() + "\n").encode())


def lift_halts(store: Store, groups: Iterable[str]) -> None:
    for group in groups:
        store.delete(halt_key(group))


def read_halts(store: Store) -> Mapping[str, Halt]:
    """By group. One that cannot be read halts all the same."""
    found = {}
    for item in store.list(HALT):
        group = item.key.removeprefix(HALT)
        found[group] = _read(store, item.key, item.modified)
    return found


def _read(store: Store, key: str, modified: datetime) -> Halt:
    try:
        stored = store.get(key, limit=MAX_BYTES)
        halt = Halt.model_validate_json(stored.body) if stored else Halt()
    except (ValidationError, Fatal):
        halt = Halt(why="its content cannot be read")
    return halt if halt.when else halt.model_copy(update={"when": f"{modified:%Y-%m-%dT%H:%M:%SZ}"})
