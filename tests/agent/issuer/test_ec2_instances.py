"""DescribeInstances as moto answers it, held against the fields that the rules read."""

from datetime import UTC, datetime, timedelta

import pytest

from agent.issuer.ec2_instances import Ec2Instances, Instance
from tests.agent.issuer.aws_doubles import Ec2Double, InstanceDouble
from tests.agent.issuer.served import served
from tests.agent.issuer.world import CredentialsDouble

REGION = "eu-west-1"


@pytest.fixture
def launched(moto_endpoint):
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": REGION}
    import boto3

    ec2, iam = (boto3.client(name, endpoint_url=moto_endpoint, **keys) for name in ("ec2", "iam"))
    name = f"nodes-{datetime.now(UTC).timestamp()}"
    arn = iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Arn"]
    made = ec2.run_instances(
        ImageId=ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"],
        MinCount=1,
        MaxCount=1,
        IamInstanceProfile={"Name": name},
        MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "kubernetes.io/cluster/demo", "Value": "owned"}]}
        ],
    )["Instances"][0]
    return made, arn


@pytest.fixture
def instances(moto_endpoint) -> Ec2Instances:
    credentials = CredentialsDouble()
    return Ec2Instances(REGION, credentials, endpoint=moto_endpoint, renew=credentials.renew)


def test_an_instance_as_ec2_describes_it(instances, launched) -> None:
    made, arn = launched
    (found,) = instances.by_id(made["InstanceId"])
    assert found == Instance(
        instance_id=made["InstanceId"],
        owner="123456789012",
        zone=made["Placement"]["AvailabilityZone"],
        state="running",
        vpc=made["VpcId"],
        private_dns_name=made["PrivateDnsName"],
        private_ip=made["PrivateIpAddress"],
        profile_arn=arn,
        http_tokens="required",
        hop_limit=1,
        launched=found.launched,
        attached=found.attached,
        tags={"kubernetes.io/cluster/demo": "owned"},
    )
    assert abs(found.launched - datetime.now(UTC)) < timedelta(minutes=5)
    assert found.attached.tzinfo is not None


def test_an_instance_is_found_by_its_private_name_while_it_lives(instances, launched, moto_endpoint) -> None:
    made, _ = launched
    name, vpc = made["PrivateDnsName"], made["VpcId"]
    assert [found.instance_id for found in instances.by_name(name, vpc)] == [made["InstanceId"]]
    assert instances.by_name(name, "vpc-00000000") == ()
    assert instances.by_name("ip-1-2-3-4.ec2.internal", vpc) == ()
    import boto3

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": REGION}
    boto3.client("ec2", endpoint_url=moto_endpoint, **keys).terminate_instances(InstanceIds=[made["InstanceId"]])
    assert instances.by_name(name, vpc) == ()


def test_an_instance_that_ec2_does_not_know_is_none(instances) -> None:
    assert instances.by_id("i-0123456789abcdef0") == ()


def test_the_double_answers_in_the_same_form() -> None:
    credentials = CredentialsDouble()
    double = Ec2Double({"i-0aaaaaaaaaaaaaaa1": InstanceDouble("i-0aaaaaaaaaaaaaaa1", age=100, attached_age=9_000)})
    with served(double.respond) as url:
        (found,) = Ec2Instances(REGION, credentials, endpoint=url, renew=credentials.renew).by_id("i-0aaaaaaaaaaaaaaa1")
    age = datetime.now(UTC) - found.attached  # of the primary interface; the double has an older second one
    assert timedelta(seconds=8_990) < age < timedelta(seconds=9_090)


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-west-1", "https://ec2.eu-west-1.amazonaws.com/"),
        ("us-gov-west-1", "https://ec2.us-gov-west-1.amazonaws.com/"),
        ("cn-north-1", "https://ec2.cn-north-1.amazonaws.com.cn/"),
    ],
)
def test_addresses(region, host) -> None:
    credentials = CredentialsDouble()
    assert Ec2Instances(region, credentials, endpoint=None, renew=credentials.renew)._url == host
