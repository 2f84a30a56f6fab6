"""EC2's rules in the lab's region. Each rule is also held against bare moto, where it must fail: that is its reason."""

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.lab.region.client import LabClient
from tests.lab.region.fixtures import World

Rule = Callable[[World], None]
RULES: list[Rule] = []


def rule(check: Rule) -> Rule:
    RULES.append(check)
    return check


def refusal(call: Callable[[], object]) -> tuple[str, str]:
    """The (Code, Message) that botocore reads out of the answer to a call that must fail."""
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError) as caught:
        call()
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


@rule
def a_volume_of_another_zone_is_refused(world: World) -> None:
    volume, instance = world.volume("eu-west-1b"), world.instance("eu-west-1a")
    code, message = refusal(lambda: world.attach(volume, instance))
    assert code == "InvalidVolume.ZoneMismatch"
    assert volume in message
    assert world.attachment(volume) == "none"


@rule
def a_second_instance_does_not_get_an_attached_volume(world: World) -> None:
    volume, holder, rival = world.volume(), world.instance(), world.instance()
    world.attached(volume, holder)
    assert refusal(lambda: world.attach(volume, rival))[0] == "VolumeInUse"
    found = world.aws("ec2").describe_volumes(VolumeIds=[volume])["Volumes"][0]["Attachments"]
    assert [attachment["InstanceId"] for attachment in found] == [holder]


@rule
def attaching_twice_to_the_same_instance_is_refused(world: World) -> None:
    volume, instance = world.volume(), world.instance()
    world.attached(volume, instance)
    assert refusal(lambda: world.attach(volume, instance, "/dev/xvdby"))[0] == "VolumeInUse"


@rule
def a_taken_device_name_is_refused_with_or_without_dev(world: World) -> None:
    first, second, instance = world.volume(), world.volume(), world.instance()
    world.attached(first, instance, "/dev/xvdbz")
    for name in ("/dev/xvdbz", "xvdbz"):
        code, message = refusal(lambda name=name: world.attach(second, instance, name))
        assert code == "InvalidParameterValue"
        assert "already in use" in message


@rule
def a_device_name_ebs_does_not_know_is_refused(world: World) -> None:
    code, message = refusal(lambda: world.attach(world.volume(), world.instance(), "/dev/nvme1n1"))
    assert code == "InvalidParameterValue"
    assert "not a valid EBS device name" in message


@rule
def nothing_attaches_to_a_terminated_instance(world: World) -> None:
    volume, instance = world.volume(), world.instance()
    world.aws("ec2").terminate_instances(InstanceIds=[instance])
    assert refusal(lambda: world.attach(volume, instance))[0] == "IncorrectState"


@rule
def an_attachment_is_attaching_before_it_is_attached(world: World) -> None:
    volume, instance = world.volume(), world.instance()
    world.stick(volume, "attaching")
    world.attach(volume, instance)
    found = world.aws("ec2").describe_volumes(VolumeIds=[volume])["Volumes"][0]
    assert (found["State"], found["Attachments"][0]["State"]) == ("in-use", "attaching")
    world.free(volume)
    world.wait(lambda: world.attachment(volume) == "attached")


@rule
def a_detaching_volume_is_still_in_use(world: World) -> None:
    volume, holder, rival = world.volume(), world.instance(), world.instance()
    world.attached(volume, holder)
    world.stick(volume, "detaching")
    world.aws("ec2").detach_volume(VolumeId=volume)
    assert world.attachment(volume) == "detaching"
    assert refusal(lambda: world.attach(volume, rival))[0] == "VolumeInUse"
    world.free(volume)
    world.wait(lambda: world.attachment(volume) == "none")
    world.attached(volume, rival)


@rule
def detaching_an_available_volume_is_an_incorrect_state(world: World) -> None:
    volume = world.volume()
    assert refusal(lambda: world.aws("ec2").detach_volume(VolumeId=volume))[0] == "IncorrectState"


@rule
def the_root_volume_of_a_running_instance_stays(world: World) -> None:
    instance, ec2 = world.instance(), world.aws("ec2")
    found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    root = found["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert refusal(lambda: ec2.detach_volume(VolumeId=root))[0] == "OperationNotPermitted"


@rule
def termination_frees_volumes_late_and_keeps_the_attached_ones(world: World) -> None:
    volume, holder, heir = world.volume(), world.instance(), world.instance()
    world.attached(volume, holder)
    world.stick(volume, "detaching")
    world.aws("ec2").terminate_instances(InstanceIds=[holder])
    assert refusal(lambda: world.attach(volume, heir))[0] == "VolumeInUse"
    world.wait(lambda: world.instance_state(holder) == "terminated")
    assert refusal(lambda: world.attach(volume, heir))[0] == "VolumeInUse"
    world.free(volume)
    world.wait(lambda: world.attachment(volume) == "none")
    world.attached(volume, heir)


@rule
def of_eight_racing_instances_one_gets_the_volume(world: World) -> None:
    from botocore.exceptions import ClientError

    volume = world.volume()
    rivals = [world.instance() for _ in range(8)]
    clients = {rival: world.aws("ec2") for rival in rivals}

    def race(rival: str) -> str:
        try:
            clients[rival].attach_volume(VolumeId=volume, InstanceId=rival, Device="/dev/xvdbz")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "won"

    with ThreadPoolExecutor(8) as pool:
        results = sorted(pool.map(race, rivals))
    assert results == ["VolumeInUse"] * 7 + ["won"]


@rule
def an_instance_holds_no_more_volumes_than_it_has_slots(world: World) -> None:
    instance = world.instance()
    names = [f"/dev/xvdb{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    for name in names[:25]:
        world.attach(world.volume(), instance, name)
    assert refusal(lambda: world.attach(world.volume(), instance, names[25]))[0] == "AttachmentLimitExceeded"


@rule
def one_client_token_launches_once(world: World) -> None:
    token = str(uuid4())
    assert world.instance(ClientToken=token) == world.instance(ClientToken=token)


@rule
def user_data_over_16_kib_is_refused(world: World) -> None:
    world.instance(UserData="x" * 16384)
    code, message = refusal(lambda: world.instance(UserData="x" * 16385))
    assert code == "InvalidParameterValue"
    assert "16384" in message


@rule
def tags_in_imds_forbid_keys_with_a_slash(world: World) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "k8s.io/role/node", "Value": "1"}]}]
    options = {"InstanceMetadataTags": "enabled"}
    code, message = refusal(lambda: world.instance(TagSpecifications=tags, MetadataOptions=options))
    assert code == "InvalidParameterValue"
    assert "k8s.io/role/node" in message


@rule
def imds_wants_tokens_unless_told_otherwise(world: World) -> None:
    found = world.aws("ec2").describe_instances(InstanceIds=[world.instance()])
    assert found["Reservations"][0]["Instances"][0]["MetadataOptions"]["HttpTokens"] == "required"


@rule
def an_unknown_image_is_refused(world: World) -> None:
    assert refusal(lambda: world.instance(ImageId="ami-00000000000000000"))[0] == "InvalidAMIID.NotFound"


@rule
def a_terminated_instance_neither_starts_nor_stops(world: World) -> None:
    instance, ec2 = world.instance(), world.aws("ec2")
    ec2.terminate_instances(InstanceIds=[instance])
    for call in (ec2.start_instances, ec2.stop_instances, ec2.reboot_instances):
        assert refusal(lambda call=call: call(InstanceIds=[instance]))[0] == "IncorrectInstanceState"
    assert ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"]


@rule
def console_output_is_the_machines_own(world: World) -> None:
    instance = world.instance()
    output = world.aws("ec2").get_console_output(InstanceId=instance)["Output"]
    assert instance in output


@pytest.mark.parametrize("check", RULES, ids=lambda check: check.__name__)
def test_the_region_keeps_the_rule(check: Rule, strict: World) -> None:
    check(strict)


@pytest.mark.parametrize("check", RULES, ids=lambda check: check.__name__)
def test_bare_moto_breaks_the_rule(check: Rule, bare: World) -> None:
    """When this fails, moto has learned the rule: take the lab's own version out."""
    from botocore.exceptions import ClientError
    from botocore.parsers import ResponseParserError  # moto answers some calls with a page of HTML and 500

    with pytest.raises((AssertionError, pytest.fail.Exception, ClientError, ResponseParserError)):
        check(bare)


def test_a_volume_attached_elsewhere_is_not_found_on_the_wrong_instance(strict: World) -> None:
    volume, holder, other = strict.volume(), strict.instance(), strict.instance()
    strict.attached(volume, holder)
    ec2 = strict.aws("ec2")
    wrong = lambda: ec2.detach_volume(VolumeId=volume, InstanceId=other)  # noqa: E731 - one call, named
    assert refusal(wrong)[0] == "InvalidAttachment.NotFound"
    assert strict.attachment(volume) == "attached"


def test_an_instance_needs_a_subnet_of_the_lab(strict: World) -> None:
    ec2 = strict.aws("ec2")
    launch = lambda: ec2.run_instances(ImageId=strict.image_id, MinCount=1, MaxCount=1)  # noqa: E731 - as above
    assert refusal(launch)[0] == "VPCIdNotSpecified"


def test_private_addresses_lie_in_the_subnet_and_never_repeat(strict: World) -> None:
    ids = [strict.instance("eu-west-1b") for _ in range(4)]
    found = strict.aws("ec2").describe_instances(InstanceIds=ids)["Reservations"]
    addresses = [reservation["Instances"][0]["PrivateIpAddress"] for reservation in found]
    assert len(set(addresses)) == 4
    assert all(address.startswith("127.99.2.") for address in addresses)


def test_user_data_comes_back_as_it_was_sent(strict: World, lab: LabClient) -> None:
    instance = strict.instance(UserData="#cloud-config\n{}\n")
    found = lab.aws("ec2").describe_instance_attribute(InstanceId=instance, Attribute="userData")
    assert base64.b64decode(found["UserData"]["Value"]) == b"#cloud-config\n{}\n"
