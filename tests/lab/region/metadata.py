"""What IMDS says about one instance: a flat map of paths to text, and the listings of its folders. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.lab.region.settings import ACCOUNT

TIME = "%Y-%m-%dT%H:%M:%SZ"
VERSIONS = (
    "1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15", "2008-02-01", "2008-09-01",
    "2009-04-04", "2011-01-01", "2011-05-01", "2012-01-12", "2014-02-25", "2014-11-05", "2015-10-20",
    "2016-04-19", "2016-06-30", "2016-09-02", "2018-03-28", "2018-08-17", "2018-09-24", "2019-10-01",
    "2020-10-27", "2021-01-03", "2021-03-23", "2021-07-15", "2022-09-24", "2024-04-11", "latest",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One instance as IMDS sees it. tags is empty unless InstanceMetadataTags is enabled."""

    id: str
    image_id: str
    instance_type: str
    architecture: str
    zone: str
    zone_id: str
    region: str
    private_ip: str
    hostname: str
    mac: str
    interface_id: str
    subnet_id: str
    subnet_cidr: str
    vpc_id: str
    vpc_cidr: str
    security_groups: tuple[tuple[str, str], ...]  # (id, name)
    reservation_id: str
    launch_index: int
    launched: str
    profile_arn: str
    profile_id: str
    role: str
    key_name: str
    public_key: str
    user_data: bytes | None = field(repr=False)
    tags: Mapping[str, str]
    tokens_required: bool
    endpoint_enabled: bool
    hop_limit: int


def meta_data(view: InstanceView, now: str) -> dict[str, str]:
    """Everything below meta-data/ but credentials, by path."""
    groups = "\n".join(name for _, name in view.security_groups)
    paths = {
        "ami-id": view.image_id,
        "ami-launch-index": str(view.launch_index),
        "ami-manifest-path": "(unknown)",
        "hostname": view.hostname,
        "instance-action": "none",
        "instance-id": view.id,
        "instance-life-cycle": "on-demand",
        "instance-type": view.instance_type,
        "local-hostname": view.hostname,
        "local-ipv4": view.private_ip,
        "mac": view.mac,
        "placement/availability-zone": view.zone,
        "placement/availability-zone-id": view.zone_id,
        "placement/region": view.region,
        "profile": "default-hvm",
        "reservation-id": view.reservation_id,
        "security-groups": groups,
        "services/domain": "amazonaws.com",
        "services/partition": "aws",
        "identity-credentials/ec2/info": json.dumps(
            {"Code": "Success", "LastUpdated": now, "AccountId": ACCOUNT}, indent=2
        ),
    }
    if view.profile_arn:
        info = {
            "Code": "Success",
            "LastUpdated": now,
            "InstanceProfileArn": view.profile_arn,
            "InstanceProfileId": view.profile_id,
        }
        paths["iam/info"] = json.dumps(info, indent=2)
    if view.key_name:
        paths["public-keys/0/openssh-key"] = view.public_key.rstrip("\n") + f" {view.key_name}\n"
    paths |= {f"tags/instance/{key}": value for key, value in view.tags.items()}
    return paths | _interface(view, groups)


def identity_document(view: InstanceView) -> str:
    """dynamic/instance-identity/document."""
    document = {
        "accountId": ACCOUNT,
        "architecture": view.architecture,
        "availabilityZone": view.zone,
        "billingProducts": None,
        "devpayProductCodes": None,
        "marketplaceProductCodes": None,
        "imageId": view.image_id,
        "instanceId": view.id,
        "instanceType": view.instance_type,
        "kernelId": None,
        "pendingTime": view.launched,
        "privateIp": view.private_ip,
        "ramdiskId": None,
        "region": view.region,
        "version": "2017-09-30",
    }
    return json.dumps(document, indent=2)


def listing(paths: Mapping[str, str], folder: str) -> str | None:
    """The names in a folder ("" is the top), a slash behind each that is a folder itself; None when there is none."""
    prefix = f"{folder}/" if folder else ""
    names = set()
    for path in paths:
        if path.startswith(prefix):
            name, slash, _ = path[len(prefix) :].partition("/")
            names.add(name + slash)
    return "\n".join(sorted(names)) if names else None


def _interface(view: InstanceView, groups: str) -> dict[str, str]:
    folder = f"network/interfaces/macs/{view.mac}"
    return {
        f"{folder}/{name}": value
        for name, value in {
            "device-number": "0",
            "interface-id": view.interface_id,
            "local-hostname": view.hostname,
            "local-ipv4s": view.private_ip,
            "mac": view.mac,
            "owner-id": ACCOUNT,
            "security-group-ids": "\n".join(group for group, _ in view.security_groups),
            "security-groups": groups,
            "subnet-id": view.subnet_id,
            "subnet-ipv4-cidr-block": view.subnet_cidr,
            "vpc-id": view.vpc_id,
            "vpc-ipv4-cidr-block": view.vpc_cidr,
            "vpc-ipv4-cidr-blocks": view.vpc_cidr,
        }.items()
    }
