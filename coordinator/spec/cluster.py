"""The whole spec: what an operator writes about one cluster."""

import base64
import binascii
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from coordinator.spec.components import Components
from coordinator.spec.etcd import EtcdCluster
from coordinator.spec.files import ExtraFile
from coordinator.spec.groups import InstanceGroup
from coordinator.spec.identity import Identity
from coordinator.spec.model import SpecModel
from coordinator.spec.network import Network
from coordinator.spec.rollout import Rollout
from coordinator.spec.trust import Trust
from coordinator.spec.urls import Url
from coordinator.spec.words import AssetName, Cidr, ClusterName, Host, Region, Release, Sha256, Text, ZoneId, wrong

_KEY_TYPES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
# AWS's own rule for tags.
_TAG = r"[\w .:/=+\-@]"


def _hint_store(value: str) -> str:
    return "" if value.startswith("s3://") else f"did you mean s3://{value.rpartition('://')[2]}?"


Store = Annotated[
    str,
    Text(
        r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](?:/[A-Za-z0-9._-]*[A-Za-z0-9_-])*",
        "s3:// and a bucket, with or without a prefix",
        "s3://example-clusters/prod",
        512,
        _hint_store,
    ),
]
TagKey = Annotated[str, Text(rf"{_TAG}+", "letters, digits, spaces and . : / = + - @ _", "CostCenter", 128)]
TagValue = Annotated[str, Text(rf"{_TAG}*", "letters, digits, spaces and . : / = + - @ _", "platform", 256)]


def _public_key(text: str) -> str:
    if "PRIVATE KEY" in text:
        raise wrong("an OpenSSH public key", "this is the private half, and it is no longer secret; give the .pub file")
    kind, _, rest = text.strip().partition(" ")
    try:
        blob = base64.b64decode(rest.split(" ", 1)[0], validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    # RFC 4253 section 6.6: the blob starts with its own type as a length-prefixed string.
    named = len(kind).to_bytes(4, "big") + kind.encode()
    if kind not in _KEY_TYPES or "\n" in text.strip() or not blob.startswith(named):
        raise wrong(f"an OpenSSH public key of type {', '.join(_KEY_TYPES)}", "copy the whole line of the .pub file")
    return text.strip()


class Metadata(SpecModel):
    """The name of the cluster."""

    name: ClusterName
    """A DNS name. It names the folder in the store, tags and certificates, and cannot be changed."""


class Dns(SpecModel):
    """How nodes and people find the API server."""

    mode: Literal["none", "private", "public"] = "none"
    """`none`: no DNS, nodes get /etc/hosts entries, `api.endpoint` must be given. `private` or `public`: names are kept
    in a Route 53 hosted zone of that kind."""
    zone_id: ZoneId | None = None
    """The hosted zone, needed with `private` and `public`."""


class Api(SpecModel):
    """Access to the Kubernetes API."""

    endpoint: Host | None = None
    """Host name or address of the load balancer in front of the API servers. With a DNS zone it may be left out and is
    `api.internal.` and the cluster's name."""
    port: Annotated[int, Field(ge=1, le=65535)] = 6443
    """The port of the load balancer and of each API server."""
    load_balancer: Literal["internal", "public"] = "internal"
    """Whether the load balancer has public addresses."""
    admin_cidrs: Annotated[tuple[Cidr, ...], Field(max_length=64)] = ()
    """Networks besides the VPC that may reach the API. Needed when the load balancer is public."""
    extra_sans: Annotated[tuple[Host, ...], Field(max_length=64)] = ()
    """Further names and addresses in the API server's certificate."""


class SshKey(SpecModel):
    """The key that may log in: one that EC2 knows, or its public half."""

    name: (
        Annotated[
            str, Text(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?", "the name of an EC2 key pair", "operators")
        ]
        | None
    ) = None
    """Name of an existing EC2 key pair."""
    public_key: Annotated[str, Field(max_length=16384), AfterValidator(_public_key)] | None = None
    """A public key in OpenSSH format."""

    @model_validator(mode="after")
    def _names_one_key(self) -> Self:
        if (self.name is None) == (self.public_key is None):
            raise wrong("exactly one of name and publicKey")
        return self


class Aws(SpecModel):
    """How nodes and the coordinator reach AWS."""

    endpoint_url: Url | None = None
    """One address for all AWS services: a local test region. Left out, each service's own address is used."""


class ClusterSpec(SpecModel):
    """One cluster."""

    api_version: Literal["bootwright.io/v1"]
    """The version of this format."""
    kind: Literal["Cluster"]
    """What this document is."""
    metadata: Metadata
    """The cluster's name."""
    kubernetes_version: Release
    """The Kubernetes release, with its patch number."""
    region: Region
    """AWS region."""
    store: Store
    """Where the signed repository, assets, encrypted secrets, status and backups lie: a bucket, with or without a
    prefix. The cluster gets a folder of its own in it."""
    network: Network
    """VPC, subnets, addresses, pod network."""
    dns: Dns = Dns()
    """DNS of the API."""
    api: Api = Api()
    """Access to the API."""
    instance_groups: Annotated[tuple[InstanceGroup, ...], Field(min_length=1, max_length=1000)]
    """The machines. At least one group has the role control-plane."""
    etcd_clusters: Annotated[tuple[EtcdCluster, ...], Field(max_length=2)] = ()
    """etcd clusters. Left out: one, `main`, with a member in every control-plane group."""
    components: Components = Components()
    """Extra arguments of Kubernetes components, etcd and containerd."""
    files: Annotated[tuple[ExtraFile, ...], Field(max_length=200)] = ()
    """Extra files on nodes."""
    assets: Annotated[dict[AssetName, Sha256], Field(max_length=200)] = Field(default_factory=dict)
    """Use these versions of assets instead of those `coordinator assets` would choose: name -> sha256."""
    cloud_labels: Annotated[dict[TagKey, TagValue], Field(max_length=40)] = Field(default_factory=dict)
    """Tags on everything bootwright makes in AWS."""
    ssh_key: SshKey | None = None
    """Who may log in to machines. Nobody when left out."""
    node_name: Literal["private-dns", "instance-id"] = "private-dns"
    """What a node is called in Kubernetes: by EC2's private DNS name, as the AWS cloud provider expects, or by the
    instance's id."""
    drift: Literal["report", "repair"] = "report"
    """What nodes do about files that somebody changed and units that somebody stopped: report them, or repair them in
    the next hour. Either way they take no new manifest while they are drifted; a reboot repairs."""
    rollout: Rollout = Rollout()
    """How a published change comes to machines that run: in waves, first one machine, then one per zone, a tenth, half
    and all. Control-plane groups go first, one machine at a time."""
    identity: Identity = Identity()
    """How workers prove who they are."""
    trust: Trust = Trust()
    """Signatures and the encryption of secrets."""
    aws: Aws = Aws()
    """How to reach AWS."""

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def kubernetes_minor(self) -> int:
        """36 for 1.36.2."""
        return int(self.kubernetes_version.split(".")[1])

    @property
    def bucket(self) -> str:
        return self.store.removeprefix("s3://").partition("/")[0]

    @property
    def prefix(self) -> str:
        """The cluster's folder in the bucket, without slashes at its ends."""
        within = self.store.removeprefix("s3://").partition("/")[2]
        return f"{within}/{self.name}" if within else self.name

    @property
    def api_host(self) -> str:
        """The name or address nodes reach the API by."""
        return self.api.endpoint or f"api.internal.{self.name}"

    @property
    def control_plane_groups(self) -> tuple[InstanceGroup, ...]:
        return tuple(group for group in self.instance_groups if group.is_control_plane)

    def group(self, name: str) -> InstanceGroup:
        """The group called `name`. Raises KeyError."""
        return {group.name: group for group in self.instance_groups}[name]

    def files_for(self, group: InstanceGroup) -> tuple[ExtraFile, ...]:
        """The extra files that machines of `group` get."""
        return tuple(file for file in self.files if file.is_for(group.name, group.role))
