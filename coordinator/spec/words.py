"""The words a spec is made of: names, zones, networks, versions. Each knows its shape and says it in the error."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

FIRST_MINOR = 31
LAST_MINOR = 36


def wrong(allowed: str, remedy: str = "") -> PydanticCustomError:
    """The error of a value that has the wrong shape; problems.py turns it into a problem with path and line."""
    return PydanticCustomError("spec", "{allowed}", {"allowed": allowed, "remedy": remedy})


@dataclass(frozen=True)
class Text:
    """A string of one shape. `allowed` completes the sentence "allowed: ..."; `hint` looks at a value that failed."""

    pattern: str
    allowed: str
    example: str
    longest: int = 253
    hint: Callable[[str], str] | None = None

    def check(self, value: str) -> str:
        if len(value) > self.longest:
            raise wrong(f"at most {self.longest} characters", f"shorten it; it has {len(value)}")
        if re.fullmatch(self.pattern, value, re.ASCII) is None:
            raise wrong(f"{self.allowed}, for example {self.example}", self.hint(value) if self.hint else "")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        described.update(pattern=f"^(?:{self.pattern})$", maxLength=self.longest, examples=[self.example])
        return described


@dataclass(frozen=True)
class Network:
    """An IPv4 network without host bits."""

    example: str = "10.0.0.0/16"

    def check(self, value: Any) -> IPv4Network:
        if isinstance(value, IPv4Network):
            return value
        if not isinstance(value, str):
            raise wrong(f"an IPv4 network in CIDR notation, for example {self.example}")
        if ":" in value:
            raise wrong("an IPv4 network", "IPv6 is not supported; give the IPv4 network")
        if re.fullmatch(r"[0-9.]{7,15}/[0-9]{1,2}", value, re.ASCII) is None:
            remedy = f"add the prefix length; {value}/32 is that one address" if _is_address(value) else ""
            raise wrong(f"an IPv4 network in CIDR notation, for example {self.example}", remedy)
        try:
            return IPv4Network(value)
        except ValueError:
            pass
        try:
            network = IPv4Network(value, strict=False)
        except ValueError:
            raise wrong(f"an IPv4 network in CIDR notation, for example {self.example}") from None
        raise wrong("an IPv4 network whose host bits are zero", f"did you mean {network}?")

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.check, serialization=core_schema.to_string_ser_schema()
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "type": "string",
            "pattern": r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$",
            "examples": [self.example],
        }


def _is_address(value: str) -> bool:
    return re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", value, re.ASCII) is not None


@dataclass(frozen=True)
class KubernetesVersion:
    """MAJOR.MINOR.PATCH of a release this version of bootwright knows."""

    def check(self, value: Any) -> str:
        supported = f"a release from 1.{FIRST_MINOR}.0 to 1.{LAST_MINOR}.x, written MAJOR.MINOR.PATCH"
        if not isinstance(value, str):
            raise wrong(supported, "add the patch release, for example 1.36.2")
        found = re.fullmatch(r"(v?)([0-9]{1,3})\.([0-9]{1,3})(?:\.([0-9]{1,3}))?", value, re.ASCII)
        if found is None:
            raise wrong(supported, "write it like 1.36.2; release candidates are not supported")
        prefix, major, minor, patch = found.groups()
        if patch is None:
            raise wrong(supported, f"add the patch release, for example {major}.{minor}.2")
        if prefix:
            raise wrong(supported, f"did you mean {value[1:]}?")
        if int(major) != 1 or not FIRST_MINOR <= int(minor) <= LAST_MINOR:
            raise wrong(supported, "flags and files are known for these releases only")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        minors = "|".join(str(minor) for minor in range(FIRST_MINOR, LAST_MINOR + 1))
        described.update(pattern=rf"^1\.({minors})\.[0-9]{{1,3}}$", examples=["1.36.2"])
        return described


def _hint_name(value: str) -> str:
    lowered = re.sub(r"[^a-z0-9.-]+", "-", value.lower()).strip("-.")
    return f"did you mean {lowered}?" if lowered and lowered != value else ""


def _hint_host(value: str) -> str:
    bare = re.sub(r"^[a-z]+://", "", value.lower()).split("/")[0].split(":")[0]
    return f"without scheme, port and path: {bare}" if bare and bare != value else ""


def _hint_zone(value: str) -> str:
    if re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]", value, re.ASCII):
        return f"that is a region; a zone has a letter, for example {value}a"
    return ""


def _hint_region(value: str) -> str:
    if re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9][a-z]", value, re.ASCII):
        return f"that is a zone; did you mean the region {value[:-1]}?"
    return ""


_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_HEX_ID = r"(?:[0-9a-f]{8}|[0-9a-f]{17})"

ClusterName = Annotated[
    str,
    # An EC2 tag key has 128 characters and `kubernetes.io/cluster/` takes 22 of them.
    Text(rf"{_LABEL}(?:\.{_LABEL})*", "a lower case DNS name", "prod.example.com", 106, _hint_name),
]
Label = Annotated[
    str,
    Text(
        _LABEL,
        "lower case letters, digits and dashes, starting and ending with a letter or digit",
        "workers",
        63,
        _hint_name,
    ),
]
DnsName = Annotated[str, Text(rf"{_LABEL}(?:\.{_LABEL})*", "a lower case DNS name", "cluster.local", 200, _hint_name)]
Host = Annotated[
    str, Text(rf"{_LABEL}(?:\.{_LABEL})*", "a host name or an IPv4 address", "api.prod.example.com", 253, _hint_host)
]
Region = Annotated[str, Text(r"[a-z]{2}(?:-[a-z]+)+-[0-9]", "an AWS region", "eu-west-1", 30, _hint_region)]
Zone = Annotated[
    str,
    Text(
        r"[a-z]{2}(?:-[a-z]+)+-[0-9](?:[a-z]|-[a-z]+-[0-9][a-z])", "an availability zone", "eu-west-1a", 40, _hint_zone
    ),
]
Cidr = Annotated[IPv4Network, Network()]
Release = Annotated[str, KubernetesVersion()]
Sha256 = Annotated[
    str,
    Text(
        r"[0-9a-f]{64}",
        "a sha256 in 64 lower case hexadecimal digits",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        64,
    ),
]
AssetName = Annotated[str, Text(r"[a-z0-9][a-z0-9._-]*", "lower case letters, digits, dots and dashes", "kubelet", 100)]
VpcId = Annotated[str, Text(rf"vpc-{_HEX_ID}", "the id of a VPC", "vpc-0a1b2c3d4e5f60718", 30)]
SubnetId = Annotated[str, Text(rf"subnet-{_HEX_ID}", "the id of a subnet", "subnet-0a1b2c3d4e5f60718", 30)]
ImageId = Annotated[str, Text(rf"ami-{_HEX_ID}", "the id of an image baked with packer/", "ami-0a1b2c3d4e5f60718", 30)]
MachineType = Annotated[str, Text(r"[a-z][a-z0-9-]*\.[a-z0-9-]+", "an EC2 instance type", "m7g.large", 40)]
ZoneId = Annotated[str, Text(r"Z[A-Z0-9]{1,31}", "the id of a Route 53 hosted zone", "Z0123456789ABCDEFGHIJ", 32)]
Mode = Annotated[str, Text(r"0[0-7]{3}", "a file mode of four octal digits in quotes", '"0644"', 4)]
