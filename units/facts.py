"""NodeFacts: what was found on the machine, once, and never asked again below `agent boot`.

Only what cannot change while the machine runs is a fact; what may change is looked at by `Resource.check`.
"""

from dataclasses import dataclass
from typing import Literal

from units.partitions import partition_of

Version = tuple[int, int]  # major, minor


@dataclass(frozen=True, slots=True)
class NodeFacts:
    instance_id: str
    account_id: str
    region: str
    zone: str
    machine_type: str
    architecture: Literal["amd64", "arm64"]
    private_ip: str
    private_dns_name: str
    memory_bytes: int
    cpus: int
    kernel: str
    containerd_version: Version
    etcd_version: Version
    resolved_active: bool = False  # systemd-resolved: its stub must not reach pods (kubelet resolvConf)
    api_address: str | None = None  # what the API endpoint's name resolves to, for hosts blocks without DNS

    @property
    def partition(self) -> str:
        """The AWS partition, as it stands in every ARN."""
        return partition_of(self.region)

    @property
    def provider_id(self) -> str:
        """`aws:///ZONE/INSTANCE`: the form that cloud-provider-aws parses."""
        return f"aws:///{self.zone}/{self.instance_id}"


def sample_facts(*, zone: str, region: str) -> NodeFacts:
    """The imaginary machine on which the coordinator plans every group before it publishes."""
    return NodeFacts(
        instance_id="i-0123456789abcdef0",
        account_id="123456789012",
        region=region,
        zone=zone,
        machine_type="m6i.large",
        architecture="amd64",
        private_ip="192.0.2.10",
        private_dns_name=f"ip-192-0-2-10.{region}.compute.internal",
        memory_bytes=8 * 1024**3,
        cpus=2,
        kernel="6.12.0",
        containerd_version=(2, 3),
        etcd_version=(3, 6),
    )
