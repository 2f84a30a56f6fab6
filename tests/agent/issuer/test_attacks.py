"""Every attack of the table is stopped by its rule; what the caller hears depends on whether it has proven itself."""

import json

import pytest

from agent.issuer.answers import REFUSED
from agent.issuer.codes import REMEDIES
from tests.agent.issuer import attacks_on_answers, attacks_on_instances, attacks_on_proofs  # noqa: F401  fill the table
from tests.agent.issuer.attacks import ATTACKS, Attack
from tests.agent.issuer.drafts import honest


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: f"{attack.rule}-{attack.name}")
def test_an_attack_is_refused(world, attack: Attack) -> None:
    draft = honest(world)
    attack.spoil(world, draft)
    before = dict(world.aws.s3.objects)
    answer = world.ask(draft.asked())
    assert world.journal.codes == [attack.code]
    assert answer.status == attack.status
    if attack.told:
        document = json.loads(answer.body)
        assert (document["code"], document["remedy"]) == (attack.code, REMEDIES[attack.code])
    else:
        assert answer == REFUSED
    assert world.aws.s3.objects == before
    assert world.marks == []


def test_the_honest_request_is_answered(world) -> None:
    """Or the attacks above would prove nothing."""
    assert world.ask(honest(world).asked()).status == 200
    assert world.journal.codes == []


def test_the_only_thing_ever_asked_of_sts_is_the_one_request(world) -> None:
    for attack in ATTACKS:
        draft = honest(world)
        attack.spoil(world, draft)
        world.ask(draft.asked())
    assert set(world.aws.sts.asked) == {("POST", "/")}
