"""Where the cluster lives: an existing VPC, its subnets, and the addresses of pods and services."""

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal

from pydantic import Field

from coordinator.spec.model import SpecModel
from coordinator.spec.words import Cidr, DnsName, SubnetId, VpcId, Zone

# The values kops gives; both lie in the carrier-grade NAT space, which VPCs rarely use.
POD_CIDR = IPv4Network("100.96.0.0/11")
SERVICE_CIDR = IPv4Network("100.64.0.0/16")


class Subnet(SpecModel):
    """One existing subnet of the VPC."""

    zone: Zone
    """The availability zone the subnet is in."""
    id: SubnetId
    """The subnet's id. Fill it in from Terraform outputs with `coordinator template`."""
    topology: Literal["private", "public"] = "private"
    """`private`: instances get no public address and reach out through NAT or VPC endpoints. `public`: they get one."""
    cidr: Cidr | None = None
    """The subnet's addresses. When given, it is checked against the network and the other subnets."""


class Network(SpecModel):
    """Addresses and the pod network."""

    vpc: VpcId
    """The existing VPC the cluster is built in."""
    cidr: Cidr
    """The VPC's addresses. Pod and service addresses must not overlap them."""
    subnets: Annotated[tuple[Subnet, ...], Field(min_length=1, max_length=64)]
    """The subnets instances are launched in: at least one for every zone an instance group uses."""
    pod_cidr: Cidr = POD_CIDR
    """Addresses of pods. Cannot be changed later. Without effect with `cni: amazon-vpc`."""
    service_cidr: Cidr = SERVICE_CIDR
    """Addresses of services, /12 to /24. The first is the API, the tenth the cluster's DNS. Cannot be changed later."""
    cni: Literal["bridge", "calico", "flannel", "cilium", "amazon-vpc", "none"] = "bridge"
    """The pod network. `bridge` is configured by the agent and needs nothing else, up to 50 nodes; for the others the
    agent prepares the node and you install the network's own manifests; `none` prepares nothing."""
    cluster_domain: DnsName = "cluster.local"
    """The DNS domain of services inside the cluster."""

    @property
    def cluster_dns(self) -> IPv4Address:
        """The address of the cluster's DNS service: the tenth of the service network, as kops and kubeadm do."""
        return self.service_cidr[10]

    @property
    def api_service(self) -> IPv4Address:
        """The address of the `kubernetes` service: the first of the service network."""
        return self.service_cidr[1]
