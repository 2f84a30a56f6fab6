"""N10 to N12: answers of STS that mean something else than they seem to, and callers who are no instance of ours."""

import json
from dataclasses import replace

from tests.agent.issuer.attacks import attack, text_in
from tests.agent.issuer.attacks_on_proofs import as_principal
from tests.agent.issuer.aws_doubles import ACCOUNT, Reply
from tests.agent.issuer.drafts import Draft
from tests.agent.issuer.world import INSTANCE, World

BAD = "sts-answer-refused"
NOT_OURS, NOT_AN_INSTANCE = "identity-wrong-account", "identity-not-an-instance"
OTHER = "999988887777"


def lie(world: World, old: str, new: str) -> None:
    world.aws.sts.lie = lambda reply: replace(reply, body=text_in(reply.body, old, new))


@attack("N10-status", "proof-refused")
def a_refusal_with_a_good_body(world: World, draft: Draft) -> None:
    world.aws.sts.lie = lambda reply: replace(reply, status=403)


@attack("N9", "proof-refused")
def a_redirect_with_a_good_body(world: World, draft: Draft) -> None:
    world.aws.sts.lie = lambda reply: replace(reply, status=307, headers={"Location": f"{world.config.sts_endpoint}/"})


@attack("N10-content-type", BAD)
def xml_that_calls_itself_json(world: World, draft: Draft) -> None:
    world.aws.sts.lie = lambda reply: replace(reply, headers={"Content-Type": "application/json"})


@attack("N10-xml", BAD)
def json_around_xml_that_calls_itself_xml(world: World, draft: Draft) -> None:
    world.aws.sts.lie = lambda reply: replace(reply, body=json.dumps({"Error": reply.body.decode()}).encode())


@attack("N10-xml", BAD)
def no_xml_at_all(world: World, draft: Draft) -> None:
    world.aws.sts.lie = lambda reply: replace(reply, body=b"<html>")


@attack("N10-xml", BAD)
def sixteen_bit_letters(world: World, draft: Draft) -> None:
    world.aws.sts.lie = lambda reply: replace(reply, body=reply.body.decode().encode("utf-16"))


@attack("N10-size", BAD)
def an_answer_of_200_kilobytes(world: World, draft: Draft) -> None:
    world.aws.sts.lie = lambda reply: replace(reply, body=reply.body + b" " * 200_000)


@attack("N10-markup", BAD)
def a_comment_in_the_arn(world: World, draft: Draft) -> None:
    lie(world, INSTANCE + "</Arn>", INSTANCE[:9] + "<!-- -->" + INSTANCE[9:] + "</Arn>")


@attack("N10-markup", BAD)
def a_document_type(world: World, draft: Draft) -> None:
    lie(world, "<GetCallerIdentityResponse", "<!DOCTYPE x><GetCallerIdentityResponse")


@attack("N10-markup", BAD)
def an_instruction_in_the_arn(world: World, draft: Draft) -> None:
    lie(world, INSTANCE + "</Arn>", INSTANCE[:9] + "<?x y?>" + INSTANCE[9:] + "</Arn>")


@attack("N10-markup", BAD)
def character_data_in_the_arn(world: World, draft: Draft) -> None:
    lie(world, INSTANCE + "</Arn>", "<![CDATA[" + INSTANCE + "]]></Arn>")


@attack("N10-root", BAD)
def the_answer_to_another_action(world: World, draft: Draft) -> None:
    lie(world, "GetCallerIdentityResponse", "AssumeRoleResponse")


@attack("N10-root", BAD)
def another_namespace(world: World, draft: Draft) -> None:
    lie(world, "https://sts.amazonaws.com/doc/2011-06-15/", "https://sts.evil.test/doc/2011-06-15/")


@attack("N10-children", BAD)
def an_element_more_than_sts_sends(world: World, draft: Draft) -> None:
    lie(world, "<ResponseMetadata>", "<Extra>x</Extra><ResponseMetadata>")


@attack("N10-values", BAD)
def an_arn_twice(world: World, draft: Draft) -> None:
    lie(world, "</Arn>", "</Arn><Arn>arn:aws:iam::1:user/x</Arn>")


@attack("N10-values", BAD)
def an_arn_somewhere_else(world: World, draft: Draft) -> None:
    lie(world, "<RequestId>", f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/a/b</Arn><RequestId>")


@attack("N10-values", BAD)
def an_element_in_the_arn(world: World, draft: Draft) -> None:
    lie(world, "</Arn>", "<b>x</b></Arn>")


@attack("N11-account", NOT_OURS)
def the_same_instance_id_in_another_account(world: World, draft: Draft) -> None:
    """CVE-2025-11621."""
    as_principal(
        world,
        draft,
        account=OTHER,
        arn=f"arn:aws:sts::{OTHER}:assumed-role/aws:ec2-instance/{INSTANCE}",
        user_id=f"{OTHER}:aws:ec2-instance:{INSTANCE}",
    )


@attack("N11-partition", NOT_OURS)
def an_instance_of_another_partition(world: World, draft: Draft) -> None:
    as_principal(world, draft, arn=f"arn:aws-us-gov:sts::{ACCOUNT}:assumed-role/aws:ec2-instance/{INSTANCE}")


@attack("N11-arn-account", NOT_OURS)
def an_arn_of_another_account_than_the_answer(world: World, draft: Draft) -> None:
    as_principal(world, draft, arn=f"arn:aws:sts::{OTHER}:assumed-role/aws:ec2-instance/{INSTANCE}")


@attack("N12-arn", NOT_AN_INSTANCE)
def an_iam_user_with_a_path_like_a_role(world: World, draft: Draft) -> None:
    as_principal(world, draft, arn=f"arn:aws:iam::{ACCOUNT}:user/assumed-role/aws:ec2-instance/{INSTANCE}")


@attack("N12-arn", NOT_AN_INSTANCE)
def credentials_of_the_instance_profile(world: World, draft: Draft) -> None:
    """A session name is free text for whoever may assume the role: no way down from the identity role."""
    as_principal(
        world,
        draft,
        arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/nodes.demo/{INSTANCE}",
        user_id=f"AROA{'C' * 17}:{INSTANCE}",
    )


@attack("N12-arn", NOT_AN_INSTANCE)
def a_federated_user(world: World, draft: Draft) -> None:
    as_principal(
        world,
        draft,
        arn=f"arn:aws:sts::{ACCOUNT}:federated-user/{INSTANCE}",
        user_id=f"{ACCOUNT}:{INSTANCE}",
    )


@attack("N12-arn", NOT_AN_INSTANCE)
def a_persons_session(world: World, draft: Draft) -> None:
    as_principal(
        world,
        draft,
        arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/admin/alice@example.com",
        user_id=f"AROA{'C' * 17}:alice@example.com",
    )


@attack("N12-user-id", NOT_AN_INSTANCE)
def a_user_id_of_another_instance(world: World, draft: Draft) -> None:
    as_principal(world, draft, user_id=f"{ACCOUNT}:aws:ec2-instance:i-0bbbbbbbbbbbbbbb2")


def json_of_sts(world: World) -> None:
    """The real one's own answer to `Accept: application/json`."""
    result = {"Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/aws:ec2-instance/{INSTANCE}", "Account": ACCOUNT}
    document = json.dumps({"GetCallerIdentityResponse": {"GetCallerIdentityResult": result}}).encode()
    world.aws.sts.lie = lambda _reply: Reply(200, document, {"Content-Type": "application/json"})


@attack("N10-xml", BAD)
def the_json_that_sts_can_send(world: World, draft: Draft) -> None:
    json_of_sts(world)
