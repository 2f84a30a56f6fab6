"""N6 and N9: the rebuilt request goes to the one host of the configuration, and nowhere else."""

import json

import pytest

from agent.issuer.proof import Proof
from agent.issuer.sts import rebuild
from tests.agent.issuer.aws_doubles import REGION, Reply
from tests.agent.issuer.drafts import honest
from tests.agent.issuer.served import served
from tests.agent.issuer.world import World


def test_what_is_asked_of_sts_word_for_word(world: World) -> None:
    world.config = world.config.model_copy(update={"sts_endpoint": "https://sts.eu-west-1.amazonaws.com"})
    headers = rebuild(world.config, Proof("ASIA" + "A" * 16, "20261123T100000Z", "token", "0" * 64), "d" * 64)
    assert headers == {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "host": "sts.eu-west-1.amazonaws.com",
        "x-amz-content-sha256": "ab821ae955788b0e33ebd34c208442ccfc2d406e2edc5e7a39bd6458fbb4f843",
        "x-amz-date": "20261123T100000Z",
        "x-amz-security-token": "token",
        "x-node-audience": "demo/7f3a1c",
        "x-node-request-sha256": "d" * 64,
        "authorization": f"AWS4-HMAC-SHA256 Credential=ASIA{'A' * 16}/20261123/{REGION}/sts/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token;x-node-audience;"
        f"x-node-request-sha256, Signature={'0' * 64}",
    }


def test_a_redirect_is_not_followed_and_no_proxy_of_the_environment_is_used(world: World, monkeypatch) -> None:
    evil: list[str] = []

    def listen(method: str, path: str, *_: object) -> Reply:
        evil.append(f"{method} {path}")
        return Reply(200)

    with served(listen) as url:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, url)
        assert world.ask(honest(world).asked()).status == 200
        world.aws.sts.lie = lambda _: Reply(307, b"", {"Location": url})
        assert world.ask(honest(world).asked()).status == 403
    assert evil == []


def test_a_netrc_replaces_no_signature(world: World, monkeypatch, tmp_path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert world.ask(honest(world).asked()).status == 200


def test_an_sts_whose_certificate_nobody_knows_is_not_asked(world: World) -> None:
    """CVE-2025-49831: a network that reroutes the call."""
    import ssl

    asked: list[str] = []
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(str(world.directory / "server.pem"))
    with served(lambda *_: asked.append("x") or Reply(200), tls) as url:
        world.config = world.config.model_copy(update={"sts_endpoint": url})
        answer = world.ask(honest(world).asked())
    assert (answer.status, json.loads(answer.body)["code"]) == (503, "sts-unreachable")
    assert asked == []


@pytest.mark.parametrize("field", ["akid", "date", "token", "sig"])
def test_no_field_of_a_proof_can_move_the_request_to_another_host_or_path(world: World, field) -> None:
    """Whatever stands in it: with the checks on the fields' form taken out, too."""
    from agent.issuer.rules import Rules

    rules = Rules()
    for name in ("N4-akid", "N4-date", "N4-token", "N4-signature", "N5-late"):
        rules = rules.without(name)
    for value in ("sts.evil.test?", "/../x", "@evil.test/", "a\tb", "x-node-audience:evil"):
        draft = honest(world)
        draft.fields = lambda fields, value=value: fields | {field: value}
        assert world.ask(draft.asked(), rules).status in (403, 503)
    assert set(world.aws.sts.asked) <= {("POST", "/")}
