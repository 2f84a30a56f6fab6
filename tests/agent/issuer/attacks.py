"""The table of attacks: each one honest request, spoilt in one place, and the rule that must stop it.

`told`: the caller has proven an identity, and hears the code. Otherwise the journal alone has it (N20).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from tests.agent.issuer.drafts import Draft
from tests.agent.issuer.world import World

Spoil = Callable[[World, Draft], None]


@dataclass(frozen=True, slots=True)
class Attack:
    name: str
    rule: str
    code: str
    spoil: Spoil
    told: bool = False
    status: int = 403


ATTACKS: list[Attack] = []


def attack(rule: str, code: str, *, told: bool = False, status: int = 403) -> Callable[[Spoil], Spoil]:
    def note(spoil: Spoil) -> Spoil:
        ATTACKS.append(Attack(spoil.__name__, rule, code, spoil, told, status))
        return spoil

    return note


def attacks_on(rule: str) -> list[Attack]:
    return [each for each in ATTACKS if each.rule == rule]


def field(name: str, change: Callable[[str], object]) -> Spoil:
    """Changes one field of the token, after signing."""

    def spoil(_world: World, draft: Draft) -> None:
        draft.fields = lambda fields: fields | {name: change(fields[name])}

    return spoil


def text_in(document: bytes, old: str, new: str) -> bytes:
    changed = document.replace(old.encode(), new.encode())
    assert changed != document, f"{old!r} is not in {document!r}"
    return changed


def csrs_changed(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    """Changes the body before it is signed."""

    def sent(body: bytes) -> bytes:
        document = json.loads(body)
        return json.dumps(change(document)).encode()

    return sent
