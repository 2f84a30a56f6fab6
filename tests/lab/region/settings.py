"""What a lab region is made of: its addresses, its delays, and where its machines come from."""

import json
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

ACCOUNT = "123456789012"  # moto's default account: it has no other for keys it did not issue itself
OPERATOR_KEY = "AKIABWLABOPERATOR000"
ZONES = ("a", "b", "c")
ROOT_DEVICE = "/dev/sda1"


@dataclass(frozen=True, slots=True)
class Network:
    """Where the region listens. Port 0 takes any free port (only sensible on loopback)."""

    cidr: str = "10.99.0.0/20"
    api_host: str = "10.99.0.1"
    api_port: int = 5000
    imds_host: str = "169.254.169.254"
    imds_port: int = 80
    balancer_host: str = "10.99.0.2"
    balancer_port: int = 6443
    issuer_port: int = 3988
    bridge: str = "bw-lab0"  # empty: on loopback, where several regions can run at once

    @property
    def prefix_length(self) -> int:
        return IPv4Network(self.cidr).prefixlen

    def subnet(self, zone: str) -> str:
        """The private /24 of zone "a", "b" or "c": the second, third and fourth of the network."""
        return str(list(IPv4Network(self.cidr).subnets(new_prefix=24))[1 + ZONES.index(zone)])


BRIDGE = Network()
# Every 127/8 address is local on Linux: instances get "private" addresses a test can really bind to.
LOOPBACK = Network(
    cidr="127.99.0.0/20",
    api_host="127.0.0.1",
    api_port=0,
    imds_host="127.0.0.1",
    imds_port=0,
    balancer_host="127.0.0.1",
    balancer_port=0,
    issuer_port=0,
    bridge="",
)


@dataclass(frozen=True, slots=True)
class Delays:
    """Seconds that EC2 takes over things; every one may be 0."""

    launch: float = 1.0  # RunInstances -> the machine is switched on
    attach: float = 2.0  # attaching -> attached
    detach: float = 2.0  # detaching -> available
    terminate: float = 1.0  # shutting-down -> terminated
    release: float = 3.0  # terminated -> its volumes are free again


@dataclass(frozen=True, slots=True)
class RegionSettings:
    """machines: "module:function" of the launch callable (machines.Launch), loaded in the region's process."""

    machines: str = "tests.lab.machine:launch"
    image_id: str = ""  # of a baked image (tests.lab.image); left out: the one baked last
    network: Network = BRIDGE
    delays: Delays = field(default_factory=Delays)
    region: str = "eu-west-1"
    balancer: bool = True
    volume_limit: int = 26  # a Nitro instance has 28 slots; root and the network interface take two
    credentials_seconds: int = 6 * 3600
    memory_limit_mib: int = 3072  # no machine gets more, whatever its instance type says
    owner: tuple[int, int] | None = None  # pid and start time; the region ends when that process has ended

    def zone_names(self) -> tuple[str, ...]:
        return tuple(self.region + zone for zone in ZONES)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)

    @staticmethod
    def from_json(text: str) -> "RegionSettings":
        raw: dict[str, Any] = json.loads(text)
        raw["network"] = Network(**raw["network"])
        raw["delays"] = Delays(**raw["delays"])
        raw["owner"] = tuple(raw["owner"]) if raw["owner"] else None
        return RegionSettings(**raw)


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The files of one lab. Everything a lab writes is below `path`."""

    path: Path

    @property
    def settings(self) -> Path:
        return self.path / "settings.json"

    @property
    def state(self) -> Path:
        """Written once the region answers; holds endpoints and secrets, mode 0600."""
        return self.path / "region.json"

    @property
    def log(self) -> Path:
        return self.path / "region.log"

    @property
    def processes(self) -> Path:
        return self.path / "processes"

    def machine(self, instance_id: str) -> Path:
        return self.path / "machines" / instance_id

    def image(self, image_id: str) -> Path:
        return self.path / "images" / f"{image_id}.img"

    def volume(self, volume_id: str) -> Path:
        return self.path / "volumes" / f"{volume_id}.img"
