"""N19: who asks too often waits; what is not there yet is asked for again; a throttled AWS is not a refusal."""

import json

import pytest

from agent.issuer.limits import Limits
from agent.issuer.rates import Rates
from tests.agent.issuer.aws_doubles import InstanceDouble, Reply, ec2_error, instance_identity
from tests.agent.issuer.drafts import honest
from tests.agent.issuer.running import exchange, post, running
from tests.agent.issuer.world import INSTANCE, RECORD

OTHER = "i-0bbbbbbbbbbbbbbb2"


def test_tokens_flow_back_with_time() -> None:
    now = [0.0]
    rates = Rates(0.5, 2, monotonic=lambda: now[0])
    assert [rates.take("a") for _ in range(3)] == [0.0, 0.0, 2.0]
    assert rates.take("b") == 0.0
    now[0] = 1.0
    assert rates.take("a") == 1.0
    now[0] = 2.0
    assert rates.take("a") == 0.0


def test_a_flood_of_keys_takes_no_more_memory_than_allowed() -> None:
    rates = Rates(1, 1, most_keys=10)
    for key in range(1000):
        rates.take(key)
    assert len(rates._buckets) == 10


def test_an_instance_that_asks_too_often_waits_and_another_does_not(world) -> None:
    world.aws.sts.principals["ASIA" + "B" * 16] = instance_identity(OTHER, letter="B")
    world.aws.ec2.instances[OTHER] = InstanceDouble(OTHER, private_dns_name="ip-10-99-1-6.eu-west-1.compute.internal")
    office = world.office(limits=Limits(instance_rate=0.1, instance_burst=2))
    draft = honest(world)
    answers = [office.answer(draft.asked()) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert 5 <= answers[2].retry_after <= 10
    assert json.loads(answers[2].body)["code"] == "throttled"
    assert office.answer(honest(world, OTHER).asked()).status == 200
    unlimited = world.office()  # the mutation: it would go on like this
    assert {unlimited.answer(draft.asked()).status for _ in range(20)} == {200}


def test_a_stranger_does_not_use_up_the_patience_for_an_instance(world) -> None:
    """Only who has proven to be an instance counts as it."""
    office = world.office(limits=Limits(instance_rate=0.1, instance_burst=1))
    forged = honest(world)
    forged.fields = lambda fields: fields | {"sig": "0" * 64}
    assert {office.answer(forged.asked()).status for _ in range(5)} == {403}
    assert office.answer(honest(world).asked()).status == 200


def test_a_source_that_asks_too_often_is_told_so_before_sts_is_asked(world) -> None:
    asked = honest(world).asked()
    with running(world, limits=Limits(source_rate=0.1, source_burst=1)) as port:
        first, second = (exchange(world, port, post(asked.body, *asked.authorizations))[0] for _ in range(2))
    assert first.startswith(b"HTTP/1.1 200")
    assert second.startswith(b"HTTP/1.1 429")
    assert b"retry-after: " in second.lower()
    assert len(world.aws.sts.asked) == 1


STS_BUSY = Reply(400, b"<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>")


@pytest.mark.parametrize(
    ("where", "reply", "code"),
    [
        ("sts", STS_BUSY, "sts-throttled"),
        ("sts", Reply(429), "sts-throttled"),
        ("sts", Reply(503), "sts-unreachable"),
        ("ec2", ec2_error("RequestLimitExceeded", 503), "ec2-throttled"),
        ("ec2", ec2_error("Unavailable", 503), "ec2-throttled"),
        ("ec2", ec2_error("UnauthorizedOperation", 403), "ec2-refused"),
        ("ec2", Reply(500), "ec2-unreachable"),
        ("ec2", Reply(200, b"<html>"), "ec2-unreachable"),
        ("ec2", Reply(200, b"<!DOCTYPE x><y/>"), "ec2-unreachable"),
        ("ec2", ec2_error("InvalidInstanceID.NotFound", 400), "instance-unknown"),
        ("ledger", Reply(503, b"<Error><Code>SlowDown</Code></Error>"), "ledger-unreachable"),
        ("api", Reply(500), "api-server-unreachable"),
        ("api", Reply(403), "api-server-unreachable"),
        ("api", Reply(200, b"[]"), "api-server-unreachable"),
    ],
)
def test_trouble_of_ours_is_no_refusal_and_passes(world, where, reply, code) -> None:
    """Not found, then found, among them: EC2 is eventually consistent."""
    troubled = {
        "sts": lambda: setattr(world.aws.sts, "lie", lambda _: reply),
        "ec2": lambda: world.aws.ec2.fail.append(reply),
        "ledger": lambda: world.aws.s3.fail.extend([reply] * 100),
        "api": lambda: setattr(world.api_server, "fail", reply),
    }
    troubled[where]()
    draft = honest(world)
    answer = world.ask(draft.asked())
    assert (answer.status, json.loads(answer.body)["code"]) == (503, code)
    assert answer.retry_after >= 1
    assert RECORD not in world.aws.s3.objects  # nothing is claimed, nothing issued
    world.aws.sts.lie, world.api_server.fail = None, None
    world.aws.s3.fail.clear()
    assert world.ask(draft.asked()).status == 200


@pytest.mark.parametrize("service", ["sts_endpoint", "api_server"])
def test_a_service_that_nobody_answers_for_is_no_refusal(world, service) -> None:
    world.config = world.config.model_copy(update={service: "https://127.0.0.1:1"})
    answer = world.ask(honest(world).asked())
    assert answer.status == 503
    assert json.loads(answer.body)["code"] == {"sts_endpoint": "sts-unreachable"}.get(service, "api-server-unreachable")


def test_a_node_that_is_known_but_not_ready_may_come(world) -> None:
    """Its machine was replaced under the same name."""
    world.api_server.ready["ip-10-99-1-5.eu-west-1.compute.internal"] = "Unknown"
    assert world.ask(honest(world).asked()).status == 200
    assert INSTANCE in json.dumps(world.record)
