"""Which permissions a call needs, and the condition keys that AWS would know about it.

Keys and where they come from: service authorization reference for S3, EC2 and KMS; IAM user guide, "Global condition
context keys". A key that AWS leaves out of a request is left out here, too: much of a policy hangs on that.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

from tests.lab.region.calls import Call
from tests.lab.region.policy import Permission
from tests.lab.region.principals import Principal
from tests.lab.region.settings import ACCOUNT

Keys = dict[str, str | tuple[str, ...]]
_TAGGING = ("CreateTags", "DeleteTags")
_NAMING = ("AttachVolume", "DetachVolume", "GetConsoleOutput")
_KINDS = {"i": "instance", "vol": "volume", "subnet": "subnet", "vpc": "vpc"}


class Ec2(Protocol):
    """What moto's EC2 backend knows; see `tests.lab.region.directory`."""

    def tags_of(self, resource_id: str) -> dict[str, str]: ...
    def place_of(self, instance_id: str) -> tuple[str, str] | None:
        """VPC and private address."""

    def vpcs(self) -> dict[str, str]:
        """Id -> CIDR block."""


class Permissions:
    def __init__(self, ec2: Ec2, region: str) -> None:
        self._ec2 = ec2
        self._region = region

    def needed(self, call: Call, principal: Principal) -> Iterator[Permission]:
        """All of them must be allowed."""
        action, shared = f"{call.service}:{call.action}", self._shared(call, principal)
        if call.service == "ec2":
            yield from (Permission(action, arn, shared | keys) for arn, keys in self._ec2_resources(call))
            return
        yield Permission(action, call.resource, shared | _of_service(call))
        source = call.headers.get("x-amz-copy-source", "")
        if call.service == "s3" and call.action == "PutObject" and source:
            copied = unquote(source).lstrip("/").partition("?")[0]
            yield Permission("s3:GetObject", f"arn:aws:s3:::{copied}", shared)

    def to_know_of_absence(self, call: Call, principal: Principal) -> Permission:
        """Who may list learns that an object is missing; others get 403 (S3 API, GetObject).

        AWS does not say whether this check carries s3:prefix. Here it does not, which is the harder case.
        """
        return Permission("s3:ListBucket", f"arn:aws:s3:::{call.bucket}", self._shared(call, principal))

    def _shared(self, call: Call, principal: Principal) -> Keys:
        keys: Keys = {
            "aws:PrincipalAccount": ACCOUNT,
            "aws:PrincipalArn": principal.role_arn,
            "aws:userid": principal.user_id,
            "aws:RequestedRegion": self._region,
            "aws:SourceIp": call.source,
            "aws:SecureTransport": "false",
            "aws:ViaAWSService": "false",
        }
        if agent := call.headers.get("user-agent"):
            keys["aws:UserAgent"] = agent
        if vpc := self._vpc_of(call.source):
            # As through endpoints of that VPC: the lab's instances have no other way.
            keys |= {"aws:SourceVpc": vpc, "aws:VpcSourceIp": call.source}
        if principal.instance and (place := self._ec2.place_of(principal.instance)):
            keys |= {
                "ec2:SourceInstanceARN": self._arn(principal.instance),
                "aws:Ec2InstanceSourceVPC": place[0],
                "aws:Ec2InstanceSourcePrivateIPv4": place[1],
            }
        return keys

    def _vpc_of(self, address: str) -> str:
        for vpc, cidr in self._ec2.vpcs().items():
            if IPv4Address(address) in IPv4Network(cidr):
                return vpc
        return ""

    def _ec2_resources(self, call: Call) -> Iterator[tuple[str, Keys]]:
        form = call.form
        if call.action in _NAMING:
            named = [form[name] for name in ("VolumeId", "InstanceId") if form.get(name)]
            yield from ((self._arn(name), self._about(name)) for name in named)
        elif call.action in _TAGGING:
            tags = _numbered(form, "Tag", ".Key")
            keys: Keys = {"aws:TagKeys": tuple(tags)} if tags else {}
            for number, name in enumerate(tags, start=1):
                keys[f"aws:RequestTag/{name}"] = form.get(f"Tag.{number}.Value", "")
            yield from ((self._arn(name), self._about(name) | keys) for name in _numbered(form, "ResourceId"))
        else:
            yield "*", {}

    def _about(self, resource_id: str) -> Keys:
        keys: Keys = {f"aws:ResourceTag/{name}": value for name, value in self._ec2.tags_of(resource_id).items()}
        if resource_id.startswith("i-"):
            keys["ec2:InstanceID"] = resource_id
        elif resource_id.startswith("vol-"):
            keys["ec2:VolumeID"] = resource_id
        return keys

    def _arn(self, resource_id: str) -> str:
        kind = _KINDS.get(resource_id.partition("-")[0], "other")
        return f"arn:aws:ec2:{self._region}:{ACCOUNT}:{kind}/{resource_id}"


def _of_service(call: Call) -> Keys:
    return {"s3": _of_s3, "kms": _of_kms}.get(call.service, lambda _: {})(call)


def _of_s3(call: Call) -> Keys:
    keys: Keys = {}
    if call.action == "ListBucket":
        asked = parse_qs(call.query, keep_blank_values=True)
        keys |= {f"s3:{name}": asked[name][0] for name in ("prefix", "delimiter", "max-keys") if name in asked}
    for name in ("if-match", "if-none-match"):
        if name in call.headers:
            keys[f"s3:{name}"] = call.headers[name]
    return keys


def _of_kms(call: Call) -> Keys:
    document: dict[str, Any] = call.document
    keys: Keys = {}
    context = document.get("EncryptionContext")
    if isinstance(context, dict) and context:
        keys |= {f"kms:EncryptionContext:{name}": str(value) for name, value in context.items()}
        keys["kms:EncryptionContextKeys"] = tuple(context)
    for name in ("MessageType", "SigningAlgorithm"):
        if name in document:
            keys[f"kms:{name}"] = str(document[name])
    return keys


def _numbered(form: dict[str, str], name: str, suffix: str = "") -> list[str]:
    """Values of NAME.1SUFFIX, NAME.2SUFFIX, ...: EC2's lists."""
    found = []
    while (key := f"{name}.{len(found) + 1}{suffix}") in form:
        found.append(form[key])
    return found
