"""What a lab account holds from the start: network, roles, an image, a KMS key. Made through the public API."""

from collections.abc import Callable
from typing import Any

from tests.lab.region.roles import make_lab_roles
from tests.lab.region.settings import ROOT_DEVICE, ZONES, RegionSettings


def provision(
    clients: Callable[[str], Any], settings: RegionSettings, image_id: Callable[[str], str] = str
) -> dict[str, Any]:
    """clients: service name -> boto3 client. image_id: from the id EC2 gave the image to the id it shall have.

    Returns what was made, in the shape of Terraform outputs.
    """
    ec2 = clients("ec2")
    _drop_default_vpc(ec2)
    vpc = ec2.create_vpc(CidrBlock=settings.network.cidr)["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": "lab"}])
    subnets = {
        zone: ec2.create_subnet(
            VpcId=vpc,
            CidrBlock=settings.network.subnet(zone[-1]),
            AvailabilityZone=zone,
            TagSpecifications=[{"ResourceType": "subnet", "Tags": [{"Key": "Name", "Value": f"private-{zone}"}]}],
        )["Subnet"]["SubnetId"]
        for zone in settings.zone_names()
    }
    image = ec2.register_image(
        Name="bootwright-lab",
        Architecture="x86_64",
        RootDeviceName=ROOT_DEVICE,
        VirtualizationType="hvm",
        BlockDeviceMappings=[{"DeviceName": ROOT_DEVICE, "Ebs": {"VolumeSize": 8}}],
    )["ImageId"]
    outputs = {
        "region": settings.region,
        "vpc_id": vpc,
        "network_cidr": settings.network.cidr,
        "private_subnet_ids": subnets,
        "zones": [settings.region + zone for zone in ZONES],
        "image_id": image_id(image),
        "kms_key_arn": _kms_key(clients("kms")),
    }
    return outputs | {"instance_profiles": make_lab_roles(clients("iam"), outputs)}


def _drop_default_vpc(ec2: Any) -> None:
    """Instances without a subnet would get addresses no lab machine can have; now they get VPCIdNotSpecified."""
    for vpc in ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]:
        owned = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
        for subnet in ec2.describe_subnets(Filters=owned)["Subnets"]:
            ec2.delete_subnet(SubnetId=subnet["SubnetId"])
        ec2.delete_vpc(VpcId=vpc["VpcId"])


def _kms_key(kms: Any) -> str:
    arn = kms.create_key(Description="envelope encryption of the lab cluster's secrets")["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/bootwright-lab", TargetKeyId=arn)
    return str(arn)
