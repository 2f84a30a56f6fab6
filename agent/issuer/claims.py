"""Whose identity it is: the first key wins, a renewal hands it on, an operator may open it again (N16, N17)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from agent.issuer.checks import Check, require
from agent.issuer.codes import later, refused
from agent.issuer.instance_rules import AgeCase, InstanceCase
from agent.issuer.ledger import Entry, Ledger, readable

if TYPE_CHECKING:
    from agent.issuer.rules import Rules

_TRIES = 4  # a lost race is decided by what the winner wrote: the second look settles it


@dataclass(frozen=True, slots=True)
class ReadyCase:
    name: str
    is_ready: Callable[[str], bool] = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyCase:
    entry: Entry
    spki: str


@dataclass(frozen=True, slots=True)
class Claims:
    """For one thread. `is_ready` asks the API server, and only where the answer decides."""

    ledger: Ledger
    is_ready: Callable[[str], bool]
    rules: "Rules"

    def claim(self, case: InstanceCase, spki: str, now: datetime) -> None:
        """A first issue, or the same key once more. Refused with the reason; nothing is issued before this returns."""
        mine = _entry(case, (spki,))
        for _ in range(_TRIES):
            found = self.ledger.read(mine.instance)
            if found is None:
                require(self.rules.age, AgeCase(case.instance, now))
                require(self.rules.ready, ReadyCase(mine.node, self.is_ready))
                done = self.ledger.create(mine)
            elif readable(found).open:
                done = self.ledger.replace(mine, found)
            else:
                require(self.rules.key, KeyCase(readable(found), spki))
                done = True
            if done:
                return
        raise _contended(mine)

    def hand_on(self, case: InstanceCase, presented: str, new: str | None) -> None:
        """A renewal. The presented key stays good: the node may lose the answer and come with it again."""
        for _ in range(_TRIES):
            found = self.ledger.read(case.instance.instance_id)
            if found is None:
                raise refused("identity-unknown", f"there is no record of {case.instance.instance_id}")
            entry = readable(found)
            require(self.rules.key, KeyCase(entry, presented))
            keys = entry.keys if new is None else tuple(dict.fromkeys((presented, new)))
            if keys == entry.keys or self.ledger.replace(_entry(case, keys, opened=entry.open), found):
                return
        raise _contended(entry)


def _entry(case: InstanceCase, keys: tuple[str, ...], *, opened: bool = False) -> Entry:
    return Entry(instance=case.instance.instance_id, node=case.node_name, group=case.group, keys=keys, open=opened)


def _contended(entry: Entry) -> Exception:
    return later("ledger-contended", f"the record of {entry.instance} changes again and again", after=2)


def _key(case: KeyCase) -> str:
    known = case.spki in case.entry.keys
    return "" if known else f"{case.entry.instance} has its identity under another key than {case.spki[:16]}..."


def _ready(case: ReadyCase) -> str:
    return f"node {case.name!r} is Ready" if case.is_ready(case.name) else ""


KEY: tuple[Check[KeyCase], ...] = (Check("N17-key", "identity-key-changed", _key),)
READY: tuple[Check[ReadyCase], ...] = (Check("N17-ready", "node-already-ready", _ready),)
