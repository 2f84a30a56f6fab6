"""N20: who has proven nothing learns nothing, and no secret of a proof reaches a log."""

import json
from dataclasses import fields, replace

import pytest

from agent.issuer.answers import Answer, Asked
from agent.issuer.desk import Desk, Proven
from agent.issuer.limits import Limits
from tests.agent.issuer import attacks_on_answers, attacks_on_instances, attacks_on_proofs  # noqa: F401  fill the table
from tests.agent.issuer.attacks import ATTACKS
from tests.agent.issuer.aws_doubles import Reply
from tests.agent.issuer.drafts import honest
from tests.agent.issuer.running import exchange, post, running
from tests.agent.issuer.world import a_world
from units.errors import Refused

UNPROVEN = [attack for attack in ATTACKS if not attack.told and not attack.rule.startswith("N18-renewal")]


def test_every_refusal_of_a_stranger_is_the_same_bytes_but_for_its_date(tmp_path, authority) -> None:
    seen = set()
    for attack in UNPROVEN:
        with a_world(tmp_path, authority) as world:
            draft = honest(world)
            attack.spoil(world, draft)
            asked = draft.asked()
            # The door refuses a token of 9 kB and a body of 70 kB by itself: there is no difference either.
            with running(world, limits=Limits(body=100_000, source_burst=1e6)) as port:
                if not all(value.isascii() for value in asked.authorizations):
                    continue
                head, body = exchange(world, port, post(asked.body, *asked.authorizations))
        lines = tuple(line for line in head.split(b"\r\n") if not line.lower().startswith(b"date:"))
        seen.add((lines, body))
    ((lines, body),) = seen
    assert lines[0].startswith(b"HTTP/1.1 403")
    assert json.loads(body) == {"v": 1, "code": "issuer-refused"}


class Talkative(Desk):
    """The mutation of the test above: believes everybody to be somebody."""

    def _prove(self, asked: Asked) -> Proven:
        try:
            return super()._prove(asked)
        except Refused as refusal:
            object.__setattr__(self, "why", refusal)
            return Proven("anybody", None)

    def _issue(self, asked: Asked, proven: Proven) -> Answer:
        raise self.why


def test_an_issuer_that_told_strangers_why_would_be_found_out(world) -> None:
    answers = set()
    for attack in [each for each in UNPROVEN if each.rule in ("N5-late", "N7")]:
        draft = honest(world)
        attack.spoil(world, draft)
        answers.add(_talkative(world).answer(draft.asked()))
    assert len(answers) > 1


def _talkative(world) -> Desk:
    desk = world.office().desk()
    return Talkative(**{field.name: getattr(desk, field.name) for field in fields(desk)})


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_no_log_line_holds_a_token_or_a_signature(world, attack) -> None:
    draft = honest(world)
    attack.spoil(world, draft)
    asked = draft.asked()
    world.ask(asked)
    text = world.journal.text
    assert draft.principal.token not in text
    for authorization in asked.authorizations:
        assert len(authorization) < 100 or authorization[-80:] not in text
    for proof in world.aws.sts.signatures:
        assert proof not in text
    assert "PRIVATE KEY" not in text


def test_the_honest_one_is_not_logged_with_its_proof_either(world) -> None:
    draft = honest(world)
    asked = draft.asked()
    world.ask(asked)
    assert world.aws.sts.signatures
    for secret in (draft.principal.token, asked.authorizations[0], *world.aws.sts.signatures):
        assert secret not in world.journal.text
        assert secret not in repr(asked)


def test_a_strangers_line_breaks_do_not_forge_journal_lines(world) -> None:
    draft = honest(world)
    draft.fields = lambda fields: fields | {"x\nissued certificates to all": "y"}
    world.ask(draft.asked())
    (record,) = [record for record in world.journal.records if hasattr(record, "code")]
    assert "\n" not in record.getMessage()


def test_a_fault_of_our_own_is_told_without_its_reason_and_logged_with_it(world) -> None:
    desk = replace(world.office().desk(), mark=lambda *_: 1 / 0)
    answer = desk.answer(honest(world).asked())
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "issuer-failed")
    assert b"division" not in answer.body
    assert any(record.exc_info for record in world.journal.records)


def test_trouble_with_our_own_services_is_told_by_its_code_alone(world) -> None:
    world.aws.s3.fail = [Reply(403, b"<Error><Code>AccessDenied</Code><Message>role control-plane</Message></Error>")]
    answer = world.ask(honest(world).asked())
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "ledger-unreachable")
    assert b"role" not in answer.body
