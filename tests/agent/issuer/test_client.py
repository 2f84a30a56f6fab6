"""The worker's client: every answer, and every silence, becomes an error with a code and something to do."""

import json
from datetime import UTC, datetime

import pytest

from agent.issuer.answers import REFUSED, Answer, issued, not_now, told
from agent.issuer.codes import later, refused
from pki.authority import Authority
from pki.keys import load_private_key, make_key
from pki.request import CertificateRequest
from tests.agent.issuer.aws_doubles import ACCOUNT, PROFILE_ARN, instance_identity
from tests.agent.issuer.drafts import csrs_for
from tests.agent.issuer.running import running
from tests.agent.issuer.workers import worker
from tests.agent.issuer.world import INSTANCE, World
from units.errors import Retryable


def error(world: World, answer: Answer, **changes: object) -> Retryable:
    with (
        running(world, lambda _: answer) as port,
        worker(world, port, **changes) as client,
        pytest.raises(Retryable) as caught,
    ):
        client.issue(csrs_for({"kubelet-client": make_key()}), None)
    assert caught.value.remedy
    assert caught.value.exit_code == 4
    return caught.value


def test_a_refusal_with_a_reason_comes_with_code_message_and_remedy(world) -> None:
    found = error(world, told(refused("instance-other-vpc", "the instance is in vpc-1, the cluster in vpc-2")))
    assert (found.code, str(found)) == ("instance-other-vpc", "the instance is in vpc-1, the cluster in vpc-2")
    assert "VPC that cluster.yaml names" in found.remedy


def test_the_uniform_refusal_sends_the_reader_to_the_issuers_journal(world) -> None:
    found = error(world, REFUSED)
    assert found.code == "issuer-refused"
    assert "journalctl -u bootwright-issuer" in found.remedy


@pytest.mark.parametrize(("off", "side"), [(600.0, "ahead of"), (-600.0, "behind")])
def test_the_uniform_refusal_to_a_machine_with_a_wrong_clock_is_explained(world, off, side) -> None:
    found = error(world, REFUSED, off=off)
    assert found.code == "clock-wrong"
    assert side in str(found)
    assert "chronyc" in found.remedy


def test_a_real_issuer_refuses_a_machine_whose_clock_is_ten_minutes_off_and_the_machine_knows_why(world) -> None:
    with (
        running(world) as port,
        worker(world, port, off=-600) as client,
        pytest.raises(Retryable) as caught,
    ):
        client.issue(csrs_for({"kubelet-client": make_key()}), None)
    assert caught.value.code == "clock-wrong"
    assert world.journal.codes == ["proof-wrong-time"]


def test_trouble_says_when_to_come_again(world) -> None:
    found = error(world, not_now(later("sts-unreachable", "secret words", after=37)))
    assert (found.code, found.after) == ("sts-unreachable", 37)
    assert "secret" not in str(found)


def test_an_issuer_that_is_not_there_is_unreachable(world) -> None:
    with worker(world, 1) as client, pytest.raises(Retryable, match="Connection refused") as caught:
        client.issue(csrs_for({"kubelet-client": make_key()}), None)
    assert caught.value.code == "issuer-unreachable"
    assert "port 1 " in caught.value.remedy


def test_an_issuer_of_another_authority_is_not_trusted_and_hears_no_proof(world) -> None:
    other = Authority.create("kubernetes", datetime.now(UTC)).certificate.pem.decode()
    heard: list[object] = []
    with (
        running(world, lambda asked: heard.append(asked) or REFUSED) as port,
        worker(world, port, bundle=other) as client,
        pytest.raises(Retryable) as caught,
    ):
        client.issue(csrs_for({"kubelet-client": make_key()}), None)
    assert caught.value.code == "issuer-not-trusted"
    assert "rotation" in caught.value.remedy
    assert heard == []


def test_an_issuer_with_another_name_is_not_trusted(world) -> None:
    pem = world.leaf("issuer-server", name="cp-1", ip_addresses=("10.99.0.2",))
    (world.directory / "server.pem").write_bytes(pem)
    assert error(world, REFUSED).code == "issuer-not-trusted"


def test_while_the_authority_is_replaced_both_are_trusted(world) -> None:
    other = Authority.create("kubernetes", datetime.now(UTC)).certificate.pem.decode()
    with running(world) as port, worker(world, port, bundle=other + world.bundle) as client:
        assert client.issue(csrs_for({"kubelet-client": make_key()}), None)


def certificate(world: World, key) -> bytes:
    request = CertificateRequest(profile="kube-proxy")
    return world.authority.issue(request, load_private_key(key).public_key(), datetime.now(UTC))


@pytest.mark.parametrize(
    "answer",
    [
        lambda world: issued({}),
        lambda world: issued({"kubelet-server": certificate(world, make_key())}),
        lambda world: issued({"kubelet-client": certificate(world, make_key())}),
        lambda world: issued({"kubelet-client": b"rubbish"}),
        lambda world: Answer(200, b"[]"),
        lambda world: Answer(200, b"\xff"),
        lambda world: Answer(200, json.dumps({"certificates": {"kubelet-client": "é"}}).encode()),
    ],
    ids=["none", "another profile", "another key", "rubbish", "a list", "no text", "not ASCII"],
)
def test_an_answer_that_does_not_fit_the_question_is_not_taken(world, answer) -> None:
    assert error(world, answer(world)).code == "issuer-unexpected"


@pytest.mark.parametrize("answer", [Answer(500, b"<html>"), Answer(404, b"{}"), Answer(403, b'{"code": "N0 CODE\\n"}')])
def test_what_is_no_issuer_counts_as_unreachable(world, answer) -> None:
    assert error(world, answer).code == "issuer-unreachable"


def test_words_from_the_wire_are_bounded_and_of_one_line(world) -> None:
    document = {"code": "instance-other-vpc", "message": "a\nREADY=1" + "x" * 5000, "remedy": ["no text"]}
    with (
        running(world, lambda _: Answer(403, json.dumps(document).encode())) as port,
        worker(world, port) as client,
        pytest.raises(Retryable) as caught,
    ):
        client.issue(csrs_for({"kubelet-client": make_key()}), None)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("source", ["instance-identity", "instance-profile"])
def test_the_manifest_chooses_the_credentials_of_the_proof(world, source) -> None:
    profile = instance_identity(
        INSTANCE,
        letter="P",
        arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/nodes.demo/{INSTANCE}",
        user_id=f"AROA{'C' * 17}:{INSTANCE}",
    )
    world.aws.sts.principals[profile.akid] = profile
    world.config = world.config.model_copy(update={"source": source})
    assert world.instance.profile == f"{PROFILE_ARN}nodes.demo"
    with running(world) as port, worker(world, port, profile=profile) as client:
        assert set(client.issue(csrs_for({"kubelet-client": make_key()}), None)) == {"kubelet-client"}


def test_an_issuer_that_expects_the_profile_takes_no_identity_role(world) -> None:
    """No way up either: each cluster has one kind of proof."""
    with running(world) as port, worker(world, port) as client:
        client.issue(csrs_for({"kubelet-client": make_key()}), None)
    world.config = world.config.model_copy(update={"source": "instance-profile"})
    from tests.agent.issuer.drafts import honest

    assert world.ask(honest(world).asked()).status == 403
    assert world.journal.codes == ["identity-not-an-instance"]


@pytest.mark.parametrize("user_id", [f"AROA{'C' * 17}:i-0bbbbbbbbbbbbbbb2", f"AIDA{'C' * 17}:{INSTANCE}", INSTANCE])
def test_with_the_profile_session_name_and_user_id_must_be_the_same_instance(world, user_id) -> None:
    from tests.agent.issuer.attacks_on_proofs import as_principal
    from tests.agent.issuer.drafts import honest

    world.config = world.config.model_copy(update={"source": "instance-profile"})
    draft = honest(world)
    as_principal(world, draft, arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/nodes.demo/{INSTANCE}", user_id=user_id)
    assert world.ask(draft.asked()).status == 403
    assert world.journal.codes == ["identity-not-an-instance"]


def test_a_proof_is_made_anew_for_every_request(world) -> None:
    seen = []
    with (
        running(world, lambda asked: seen.append(asked) or REFUSED) as port,
        worker(world, port) as client,
    ):
        for _ in range(2):
            with pytest.raises(Retryable):
                client.issue(csrs_for({"kubelet-client": make_key()}), None)
    assert len({asked.authorizations for asked in seen}) == 2
