"""Each check is taken out in turn: an attack that it stopped then gets another answer, mostly certificates.

A check without such an attack is not tested, and fails here. So does a rule that the table of attacks does not know.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.issuer.rules import Rules
from tests.agent.issuer import attacks_on_answers, attacks_on_instances, attacks_on_proofs  # noqa: F401  fill the table
from tests.agent.issuer.attacks import Attack, attacks_on
from tests.agent.issuer.drafts import honest
from tests.agent.issuer.mutants import MECHANISMS, answer_of
from tests.agent.issuer.world import World, a_world

# Two checks in a row stop these: without the first, the second does, and the journal has its word.
STOPPED_TWICE = {"N3-body-texts", "N4-date", "N4-signature", "N18-address", "N18-renewal-name"}


@contextmanager
def spoilt(attack: Attack, directory: Path, authority) -> Iterator[tuple[World, object]]:
    with a_world(directory, authority) as world:
        draft = honest(world)
        attack.spoil(world, draft)
        yield world, draft


def outcomes(rule: str, office, directory: Path, authority) -> list[tuple[Attack, int, list[str]]]:
    found = []
    for attack in attacks_on(rule):
        with spoilt(attack, directory, authority) as (world, draft):
            found.append((attack, answer_of(office(world), draft), world.journal.codes))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("rule", list(Rules().names()))
def test_without_a_check_an_attack_gets_through(rule, tmp_path, authority) -> None:
    mutant = Rules().without(rule)
    found = outcomes(rule, lambda world: world.office(mutant), tmp_path, authority)
    if rule in STOPPED_TWICE:
        assert any(codes != [attack.code] for attack, _status, codes in found)
    else:
        assert 200 in [status for _attack, status, _codes in found]


@pytest.mark.slow
@pytest.mark.parametrize("rule", list(MECHANISMS))
def test_with_a_broken_mechanism_an_attack_gets_through(rule, tmp_path, authority) -> None:
    found = outcomes(rule, MECHANISMS[rule], tmp_path, authority)
    assert 200 in [status for _attack, status, _codes in found]


def test_every_number_of_the_specification_has_a_rule_an_attack_or_a_test_of_its_own() -> None:
    numbers = {name.partition("-")[0] for name in (*Rules().names(), *MECHANISMS)}
    elsewhere = {
        "N6",
        "N19",
        "N20",
        "N22",
    }  # test_door, test_patience, test_silence, test_ledger
    assert numbers | elsewhere == {f"N{number}" for number in range(1, 23)}
