"""IMDSv2 as instances meet it, and what goes wrong with it on demand. Requests leave from the instances' addresses."""

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import requests

from tests.lab.region.client import LabClient
from tests.lab.region.guest import TOKEN, TTL, Guest
from tests.lab.test_region import refusal

IP_MINTTL = 21  # linux/in.h: the kernel drops packets of this connection that come with less
USER_DATA = '#cloud-config\n{"bootcmd": []}\n'


@pytest.fixture
def launch(lab: LabClient) -> Callable[..., Guest]:
    def launch_guest(**more: Any) -> Guest:
        instance = lab.run_instance(**more)
        lab.wait_for_state(instance, "running")
        return Guest(lab.state["imds_url"], lab.endpoint_url, lab.instance(instance)["private_ip"])

    return launch_guest


@pytest.fixture
def guest(launch: Callable[..., Guest]) -> Guest:
    return launch(user_data=USER_DATA)


def test_nothing_without_a_token(guest: Guest) -> None:
    for path in ("/latest/meta-data/instance-id", "/latest/user-data", "/"):
        answer = guest.get(path)
        assert answer.status_code == 401
        assert "<title>401 - Unauthorized</title>" in answer.text
    assert guest.get("/latest/meta-data/", **{TOKEN: "made-up"}).status_code == 401


def test_a_token_needs_a_time_to_live(guest: Guest) -> None:
    for ttl in ({}, {TTL: "0"}, {TTL: "21601"}, {TTL: "-1"}, {TTL: "abc"}):
        assert guest.put("/latest/api/token", **ttl).status_code == 400, ttl
    answer = guest.put("/latest/api/token", **{TTL: "21600"})
    assert (answer.status_code, answer.headers[TTL]) == (200, "21600")


def test_a_token_does_not_pass_through_proxies(guest: Guest) -> None:
    assert guest.put("/latest/api/token", **{TTL: "60", "X-Forwarded-For": "10.0.0.1"}).status_code == 403


def test_a_token_of_one_instance_is_nothing_to_another(guest: Guest, launch: Callable[..., Guest]) -> None:
    other = launch()
    assert other.get("/latest/meta-data/instance-id", **{TOKEN: guest.token}).status_code == 401


@pytest.mark.parametrize(("limit", "arrives"), [(1, False), (2, True)])
def test_a_token_dies_behind_as_many_routers_as_its_hop_limit(
    limit: int, arrives: bool, launch: Callable[..., Guest]
) -> None:
    """One router away means: the last packet must have started with an IP TTL of 2 (a pod's view of IMDS)."""
    node = launch(MetadataOptions={"HttpPutResponseHopLimit": limit})
    host, port = node.imds_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5, source_address=(node.address, 0)) as pod:
        pod.setsockopt(socket.IPPROTO_IP, IP_MINTTL, 2)
        pod.sendall(f"PUT /latest/api/token HTTP/1.1\r\nHost: {host}\r\n{TTL}: 60\r\n\r\n".encode())
        pod.settimeout(5 if arrives else 0.3)
        if arrives:
            assert pod.recv(4096).startswith(b"HTTP/1.1 200")
        else:
            with pytest.raises(TimeoutError):
                pod.recv(4096)


def test_an_address_that_is_no_instance_gets_nothing(lab: LabClient) -> None:
    stranger = Guest(lab.state["imds_url"], lab.endpoint_url, "127.99.15.250")
    assert stranger.put("/latest/api/token", **{TTL: "60"}).status_code == 403


def test_a_terminated_instance_gets_nothing(lab: LabClient, guest: Guest) -> None:
    instance = guest.instance_id
    lab.terminate(instance)
    assert guest.get("/latest/meta-data/instance-id", **{TOKEN: guest.token}).status_code == 403


@pytest.mark.parametrize("version", ["latest", "2021-03-23", "2018-09-24", "2016-09-02", "2009-04-04", "1.0"])
def test_every_version_cloud_init_asks_for_answers(version: str, guest: Guest) -> None:
    assert guest.read(f"/{version}/meta-data/instance-id") == guest.instance_id
    assert guest.read(f"/{version}/user-data") == USER_DATA


def test_an_unknown_version_is_not_found(guest: Guest) -> None:
    answer = guest.get("/2038-01-19/meta-data/instance-id", **{TOKEN: guest.token})
    assert answer.status_code == 404
    assert "<title>404 - Not Found</title>" in answer.text


def test_no_user_data_is_not_found_rather_than_empty(launch: Callable[..., Guest]) -> None:
    node = launch()
    assert node.get("/latest/user-data", **{TOKEN: node.token}).status_code == 404


def test_what_imds_says_is_what_ec2_says(lab: LabClient, guest: Guest) -> None:
    ec2 = lab.aws("ec2")
    said = ec2.describe_instances(InstanceIds=[guest.instance_id])["Reservations"][0]["Instances"][0]
    interface = said["NetworkInterfaces"][0]
    read = lambda path: guest.read("/latest/meta-data/" + path)  # noqa: E731 - a table follows
    folder = f"network/interfaces/macs/{interface['MacAddress']}/"
    expected = {
        "ami-id": said["ImageId"],
        "instance-type": "t3.medium",
        "local-ipv4": said["PrivateIpAddress"],
        "local-hostname": said["PrivateDnsName"],
        "hostname": said["PrivateDnsName"],
        "mac": interface["MacAddress"],
        "placement/availability-zone": "eu-west-1a",
        "placement/region": "eu-west-1",
        "network/interfaces/macs/": interface["MacAddress"] + "/",
        folder + "device-number": "0",
        folder + "interface-id": interface["NetworkInterfaceId"],
        folder + "local-ipv4s": said["PrivateIpAddress"],
        folder + "subnet-id": said["SubnetId"],
        folder + "vpc-id": said["VpcId"],
        folder + "subnet-ipv4-cidr-block": "127.99.1.0/24",
    }
    assert {path: read(path) for path in expected} == expected
    document = json.loads(guest.read("/latest/dynamic/instance-identity/document"))
    assert document["instanceId"] == guest.instance_id
    assert document["privateIp"] == said["PrivateIpAddress"]
    profile = json.loads(read("iam/info"))
    assert profile["InstanceProfileArn"] == said["IamInstanceProfile"]["Arn"]


def test_a_crawl_as_cloud_init_does_it_reads_every_leaf(guest: Guest) -> None:
    """Folders end in a slash, every other name of a listing can be read."""
    seen = dict(_crawl(guest, "/2021-03-23/meta-data/"))
    assert seen["/2021-03-23/meta-data/instance-id"] == guest.instance_id
    assert "/2021-03-23/meta-data/iam/security-credentials/node" in seen


def _crawl(guest: Guest, folder: str) -> list[tuple[str, str]]:
    leaves = []
    for name in guest.read(folder).splitlines():
        path = folder + name
        leaves += _crawl(guest, path) if name.endswith("/") else [(path, guest.read(path))]
    return leaves


def test_key_pairs_show_as_cloud_init_wants_them(lab: LabClient, launch: Callable[..., Guest]) -> None:
    lab.aws("ec2").create_key_pair(KeyName="operator", KeyType="ed25519")
    node = launch(KeyName="operator")
    assert node.read("/latest/meta-data/public-keys/") == "0=operator"
    assert node.read("/latest/meta-data/public-keys/0/") == "openssh-key"
    assert node.read("/latest/meta-data/public-keys/0/openssh-key").startswith("ssh-")


def test_tags_show_only_when_asked_for(lab: LabClient, guest: Guest) -> None:
    assert guest.get("/latest/meta-data/tags/instance/Name", **{TOKEN: guest.token}).status_code == 404
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "tagged"}]}]
    made = lab.aws("ec2").run_instances(
        ImageId=lab.outputs["image_id"],
        MinCount=1,
        MaxCount=1,
        InstanceType="t3.medium",
        SubnetId=lab.outputs["private_subnet_ids"]["eu-west-1a"],
        TagSpecifications=tags,
        MetadataOptions={"InstanceMetadataTags": "enabled"},
    )["Instances"][0]["InstanceId"]
    node = Guest(lab.state["imds_url"], lab.endpoint_url, lab.instance(made)["private_ip"])
    assert node.read("/latest/meta-data/tags/instance/Name") == "tagged"


def test_credentials_are_the_same_until_they_near_their_end(guest: Guest) -> None:
    first = guest.credentials()
    assert first == guest.credentials()
    assert first["Code"] == "Success"
    assert datetime.fromisoformat(first["Expiration"]) > datetime.now(UTC) + timedelta(hours=5)


def test_an_instance_without_a_profile_has_no_credentials(lab: LabClient) -> None:
    made = lab.aws("ec2").run_instances(
        ImageId=lab.outputs["image_id"],
        MinCount=1,
        MaxCount=1,
        SubnetId=lab.outputs["private_subnet_ids"]["eu-west-1a"],
    )["Instances"][0]["InstanceId"]
    node = Guest(lab.state["imds_url"], lab.endpoint_url, lab.instance(made)["private_ip"])
    path = "/latest/meta-data/iam/security-credentials/"
    assert node.get(path, **{TOKEN: node.token}).status_code == 404


def test_credentials_can_be_missing_for_a_while(lab: LabClient, guest: Guest) -> None:
    folder = "/latest/meta-data/iam/security-credentials/"
    lab.fault_imds(guest.instance_id, credentials_404=3600)
    for path in (folder, folder + "node"):
        assert guest.get(path, **{TOKEN: guest.token}).status_code == 404
    assert guest.identity_credentials()["Code"] == "Success"
    lab.fault_imds(guest.instance_id)
    assert guest.read(folder) == "node"


def test_an_absent_imds_resets_or_hangs_for_its_instance_alone(
    lab: LabClient, guest: Guest, launch: Callable[..., Guest]
) -> None:
    other = launch()
    lab.fault_imds(guest.instance_id, absent="reset")
    with pytest.raises(requests.ConnectionError):
        guest.put("/latest/api/token", **{TTL: "60"})
    lab.fault_imds(guest.instance_id, absent="hang")
    with pytest.raises(requests.ReadTimeout):
        guest.session.put(guest.imds_url + "/latest/api/token", headers={TTL: "60"}, timeout=0.3)
    assert other.instance_id
    lab.clear_fault(guest.instance_id)
    assert guest.put("/latest/api/token", **{TTL: "60"}).status_code == 200


def test_a_late_imds_answers_in_the_end(lab: LabClient, guest: Guest) -> None:
    lab.fault_imds(guest.instance_id, late=0.5)
    with pytest.raises(requests.ReadTimeout):
        guest.session.get(guest.imds_url + "/", headers={TOKEN: guest.token}, timeout=0.1)
    assert guest.read("/latest/meta-data/instance-id") == guest.instance_id


def test_a_skewed_clock_shows_in_imds_and_fails_signatures(lab: LabClient, guest: Guest) -> None:
    """The instance's clock is wrong as seen from AWS: a day behind, here."""
    sts = guest.aws("sts")
    assert sts.get_caller_identity()
    lab.fault_imds(guest.instance_id, skew=86400)
    shown = guest.get("/", **{TOKEN: guest.token}).headers["Date"]
    assert parsedate_to_datetime(shown) > datetime.now(UTC) + timedelta(hours=23)
    code, message = refusal(sts.get_caller_identity)
    assert code == "SignatureDoesNotMatch"
    assert "expired" in message
