"""N1 to N9: what a stranger can put into a request, before STS is asked and when it is."""

from dataclasses import replace

from tests.agent.issuer.attacks import attack, csrs_changed, text_in
from tests.agent.issuer.aws_doubles import instance_identity
from tests.agent.issuer.drafts import Draft, csrs_for
from tests.agent.issuer.world import INSTANCE, World

BAD = "proof-malformed"
BODY = "request-malformed"


def as_principal(world: World, draft: Draft, **changes: str) -> None:
    """Somebody whom STS knows, with odd credentials."""
    draft.principal = instance_identity(INSTANCE, **changes)
    world.aws.sts.principals[draft.principal.akid] = draft.principal


@attack("N1-body-size", BODY)
def a_body_of_70_kilobytes(world: World, draft: Draft) -> None:
    draft.sent = lambda body: body + b" " * 70_000


@attack("N3-body-fields", BODY)
def a_field_more_in_the_body(world: World, draft: Draft) -> None:
    draft.sent = csrs_changed(lambda document: document | {"group": "gpu"})


@attack("N3-body-duplicates", BODY)
def a_profile_twice(world: World, draft: Draft) -> None:
    draft.sent = lambda body: text_in(body, '"csrs": {', '"csrs": {"kubelet-client": "first", ')


@attack("N3-body-version", BODY)
def another_version_of_the_body(world: World, draft: Draft) -> None:
    draft.sent = csrs_changed(lambda document: document | {"v": 2})


@attack("N3-body-version", BODY)
def true_is_not_one(world: World, draft: Draft) -> None:
    draft.sent = csrs_changed(lambda document: document | {"v": True})


@attack("N3-body-profiles", BODY)
def a_profile_of_the_control_plane(world: World, draft: Draft) -> None:
    draft.sent = csrs_changed(
        lambda document: {"v": 1, "csrs": document["csrs"] | {"agent": document["csrs"]["kubelet-client"]}}
    )


@attack("N3-body-profiles", BODY)
def no_profile_at_all(world: World, draft: Draft) -> None:
    draft.sent = lambda _body: b'{"v": 1, "csrs": {}}'


@attack("N3-body-texts", BODY)
def a_csr_that_is_a_number(world: World, draft: Draft) -> None:
    draft.sent = csrs_changed(lambda document: {"v": 1, "csrs": document["csrs"] | {"kube-proxy": 5}})


@attack("json", BODY)
def a_body_that_is_no_json(world: World, draft: Draft) -> None:
    draft.sent = lambda _body: b"\xff\xfe{}"


@attack("json", BODY)
def a_body_of_brackets(world: World, draft: Draft) -> None:
    draft.sent = lambda _body: b"[" * 60_000


@attack("one-proof", "proof-missing")
def no_proof_at_all(world: World, draft: Draft) -> None:
    draft.authorizations = lambda _: ()


@attack("one-proof", "proof-missing")
def two_proofs(world: World, draft: Draft) -> None:
    draft.authorizations = lambda found: found * 2


@attack("N1-token-size", BAD)
def a_token_of_9_kilobytes(world: World, draft: Draft) -> None:
    draft.raw = lambda raw: raw + b" " * 9_000


@attack("N3-scheme", BAD)
def a_token_without_its_scheme(world: World, draft: Draft) -> None:
    draft.text = lambda text: text.removeprefix("NodeSTS1 ")


@attack("N2-canonical", BAD)
def base64_with_rubbish_in_it(world: World, draft: Draft) -> None:
    draft.text = lambda text: text[:40] + "!" + text[40:]


@attack("N2-canonical", BAD)
def base64_with_padding(world: World, draft: Draft) -> None:
    draft.raw = lambda raw: raw + b" " * (1 - len(raw) % 3)
    draft.text = lambda text: text + "=" * (-len(text.removeprefix("NodeSTS1 ")) % 4 or 4)


@attack("N2-canonical", BAD)
def base64_with_bits_behind_its_end(world: World, draft: Draft) -> None:
    # Of a last group of two letters only 12 bits count for one byte: the other four may be anything to a decoder.
    draft.raw = lambda raw: raw + b" " * ((1 - len(raw)) % 3)
    draft.text = lambda text: text[:-1] + {"A": "B", "Q": "R", "g": "h", "w": "x"}[text[-1]]


@attack("N3-fields", BAD)
def a_url_in_the_token(world: World, draft: Draft) -> None:
    draft.fields = lambda fields: fields | {"url": "https://sts.evil.test/"}


@attack("N3-fields", BAD)
def headers_in_the_token(world: World, draft: Draft) -> None:
    draft.fields = lambda fields: fields | {"headers": {"X-Node-Audience": ["demo"]}, "Action": "AssumeRole"}


@attack("N3-duplicates", BAD)
def a_field_twice_in_the_token(world: World, draft: Draft) -> None:
    draft.raw = lambda raw: text_in(raw, '{"v": 1,', '{"v": 1, "akid": "ASIAVICTIMVICTIMVICT",')


@attack("N3-version", BAD)
def another_version_of_the_token(world: World, draft: Draft) -> None:
    draft.fields = lambda fields: fields | {"v": 2}


@attack("json", BAD)
def not_a_number(world: World, draft: Draft) -> None:
    draft.raw = lambda raw: text_in(raw, '"v": 1', '"v": NaN')


@attack("N3-strings", BAD)
def a_token_that_is_a_number(world: World, draft: Draft) -> None:
    as_principal(world, draft, token="1234567890")
    draft.fields = lambda fields: fields | {"token": 1234567890}


@attack("N3-strings", BAD)
def a_list_as_signature(world: World, draft: Draft) -> None:
    draft.fields = lambda fields: fields | {"sig": [fields["sig"]]}


@attack("N4-akid", BAD)
def a_key_of_an_iam_user(world: World, draft: Draft) -> None:
    as_principal(world, draft, akid="AKIA" + "B" * 16)


@attack("N4-akid", BAD)
def a_slash_in_the_key_id(world: World, draft: Draft) -> None:
    draft.fields = lambda fields: fields | {"akid": fields["akid"] + "/20261123"}


@attack("N4-date", BAD)
def a_line_break_behind_the_date(world: World, draft: Draft) -> None:
    draft.fields = lambda fields: fields | {"date": fields["date"] + "\n"}


@attack("N4-date", BAD)
def arabic_digits_in_the_date(world: World, draft: Draft) -> None:
    draft.fields = lambda fields: fields | {"date": "٢" + fields["date"][1:]}


@attack("N4-token", BAD)
def a_hyphen_in_the_token(world: World, draft: Draft) -> None:
    as_principal(world, draft, token="IQoJ-abc")


@attack("N4-token", BAD)
def a_header_behind_the_token(world: World, draft: Draft) -> None:
    draft.fields = lambda fields: fields | {"token": fields["token"] + "\r\nx-node-audience: other/uid"}


@attack("N4-signature", BAD)
def another_list_of_signed_headers(world: World, draft: Draft) -> None:
    draft.fields = lambda fields: fields | {"sig": fields["sig"] + ", SignedHeaders=host"}


@attack("N4-signature", BAD)
def a_signature_in_capitals(world: World, draft: Draft) -> None:
    draft.fields = lambda fields: fields | {"sig": fields["sig"].upper()}


@attack("N5-late", "proof-wrong-time")
def a_proof_of_six_minutes_ago(world: World, draft: Draft) -> None:
    draft.age = 360


@attack("N5-early", "proof-wrong-time")
def a_proof_of_four_minutes_ahead(world: World, draft: Draft) -> None:
    draft.age = -240


@attack("N6", "proof-refused")
def a_proof_for_another_region(world: World, draft: Draft) -> None:
    draft.region = "us-east-1"


@attack("N7", "proof-refused")
def a_proof_for_another_cluster(world: World, draft: Draft) -> None:
    draft.audience = "other/7f3a1c"


@attack("N7", "proof-refused")
def a_proof_for_a_former_cluster_of_the_same_name(world: World, draft: Draft) -> None:
    draft.audience = "demo/000000"


@attack("N7", "proof-refused")
def a_signature_that_binds_no_audience(world: World, draft: Draft) -> None:
    """CVE-2026-71861: one made for any other service that takes GetCallerIdentity."""
    draft.headers = lambda headers: {name: headers[name] for name in headers if name != "x-node-audience"}


@attack("N8", "proof-refused")
def a_proof_with_another_body(world: World, draft: Draft) -> None:
    from pki.keys import make_key

    other = csrs_for({"kubelet-client": make_key()})["kubelet-client"].decode()
    draft.body = csrs_changed(lambda document: {"v": 1, "csrs": {"kubelet-client": other}})


@attack("N8", "proof-refused")
def a_signature_that_binds_no_body(world: World, draft: Draft) -> None:
    draft.headers = lambda headers: {name: headers[name] for name in headers if name != "x-node-request-sha256"}


@attack("signature", "proof-refused")
def a_signature_with_another_secret(world: World, draft: Draft) -> None:
    draft.principal = replace(draft.principal, secret="guess")


@attack("signature", "proof-refused")
def a_token_of_another_session(world: World, draft: Draft) -> None:
    draft.fields = lambda fields: fields | {"token": "IQoJother"}
