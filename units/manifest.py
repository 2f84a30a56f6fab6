"""The signed contract between coordinator and node: one `Manifest` per instance group, in a release document.

Strict on both ends: an unknown or missing field is an error with its path (`decode`), so a node never half
understands what was signed. `format` is raised whenever an older agent would misread a newer document.
"""

import base64
import hashlib
import ipaddress
import json
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from units.errors import Invalid, Problem, Refused

FORMAT: Literal[1] = 1
MAX_BYTES = 1_000_000  # TUF's own default limit for targets metadata; a manifest is some 20 kB

Role = Literal["control-plane", "node"]
Cni = Literal["bridge", "calico", "flannel", "cilium", "amazon-vpc", "none"]
AuthorityName = Literal["kubernetes", "etcd-peers", "etcd-clients", "front-proxy"]


def _plain_absolute(path: str) -> str:
    parts = path.split("/")[1:]
    if not path.startswith("/") or any(part in ("", ".", "..") for part in parts) or set(path) & {"\x00", "\n"}:
        raise ValueError("must be an absolute path without //, . or ..")
    return path


def _network(text: str) -> str:
    ipaddress.ip_network(text)
    return text


def _service_network(text: str) -> str:
    if ipaddress.ip_network(text).num_addresses < 16:
        raise ValueError("must have 16 addresses or more: the first and the tenth are taken")
    return text


Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
AbsolutePath = Annotated[str, AfterValidator(_plain_absolute)]
Version = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$")]
Network4or6 = Annotated[str, AfterValidator(_network)]
Port = Annotated[int, Field(ge=1, le=65535)]
Mode = Annotated[int, Field(ge=0, le=0o777)]
# One line of printable text: what ends up in a unit file, a TOML string or a command line.
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$", max_length=4096)]
Word = Annotated[str, StringConstraints(pattern=r"^[!#-&(-\[\]-~]+$", max_length=512)]  # no space, quote, backslash
_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LabelKey = Annotated[str, StringConstraints(pattern=rf"^([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_LABEL}$")]
LabelValue = Annotated[str, StringConstraints(pattern=rf"^({_LABEL})?$")]
FlagName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,99}$")]
Arguments = dict[FlagName, Line]  # flag name without dashes -> value


class Part(BaseModel):
    """Base of every part of a manifest: frozen, and strict about fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Cluster(Part):
    name: Name
    uid: Word  # made once by `coordinator init`; tells two clusters of one name apart
    region: Word


class Taint(Part):
    key: LabelKey
    value: LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class Group(Part):
    name: Name
    role: Role
    zones: tuple[str, ...]  # where its machines may be
    labels: dict[LabelKey, LabelValue] = {}
    taints: tuple[Taint, ...] = ()
    kubelet: dict[str, Any] = {}  # KubeletConfiguration fields laid over ours


class Network(Part):
    vpc: Word
    network_cidr: Network4or6
    pod_cidr: Network4or6
    service_cidr: Annotated[Network4or6, AfterValidator(_service_network)]
    cluster_domain: Name = "cluster.local"
    cni: Cni = "bridge"

    @property
    def kubernetes_service_ip(self) -> str:
        """The first address of the service range: the `kubernetes` service (apiserver SAN)."""
        return str(ipaddress.ip_network(self.service_cidr)[1])

    @property
    def dns_service_ip(self) -> str:
        """The tenth address of the service range, as kubeadm and kops do."""
        return str(ipaddress.ip_network(self.service_cidr)[10])


class Api(Part):
    """How the API server is reached. `endpoint` is a name or an address in front of all API servers."""

    endpoint: Word
    port: Port = 6443
    extra_sans: tuple[Word, ...] = ()


class EtcdMember(Part):
    name: Name
    zone: str
    group: Name  # the instance group that runs it


class EtcdVolume(Part):
    size_gib: int = Field(default=20, gt=0)


class EtcdCluster(Part):
    """One etcd cluster. Identity follows the volume; members find theirs by the tag `k8s.io/etcd/NAME`."""

    name: Literal["main", "events"]
    members: tuple[EtcdMember, ...]
    volume: EtcdVolume = EtcdVolume()
    client_port: Port = 2379
    peer_port: Port = 2380
    metrics_port: Port = 2381
    quota_bytes: int = Field(default=8 * 1024**3, gt=0)
    extra_args: Arguments = {}

    def member_dns_name(self, member: str, cluster: str) -> str:
        return f"{member}.etcd-{self.name}.internal.{cluster}"


class KubeProxy(Part):
    """On every node, unless the network add-on does its work."""

    enabled: bool = True
    mode: Literal["nftables", "iptables"] = "nftables"


class NodeGroup(Part):
    """A worker group as the control plane knows it: whom the issuer may make a member of it, and how it is labelled."""

    name: Name
    instance_profile: Word  # name of the IAM instance profile that its machines carry, without path
    labels: dict[LabelKey, LabelValue] = {}  # those that a kubelet may not set itself (NodeRestriction)


class Identity(Part):
    """How a machine that holds no CA key proves which instance it is (trust.md 2.3). Both ends read it here."""

    source: Literal["instance-identity", "instance-profile"] = "instance-identity"
    sts_endpoint: Word  # https://HOST[:PORT] of the region's STS: the only one that is ever called
    port: Port = 3988  # of the issuers, behind `api.endpoint`
    leaf_hours: int = Field(default=72, ge=24, le=8760)  # life of a worker's certificates
    callback_port: int = Field(default=0, ge=0, le=65535)  # of workers, where issuers ask back (N21); 0: they do not
    node_groups: tuple[NodeGroup, ...] = ()  # empty on workers


class Components(Part):
    """Extra flags per component; the planner refuses the ones that bootwright owns (`units.owned`)."""

    kube_apiserver: Arguments = {}
    kube_controller_manager: Arguments = {}
    kube_scheduler: Arguments = {}
    kube_proxy: Arguments = {}
    kubelet: Arguments = {}


class ExtraFile(Part):
    path: AbsolutePath
    content: str
    encoding: Literal["text", "base64"] = "text"
    mode: Mode = 0o644

    @model_validator(mode="after")
    def _decodes(self) -> Self:
        if self.encoding == "base64":
            base64.b64decode(self.content, validate=True)  # binascii.Error is a ValueError: pydantic reports it
        return self


class Asset(Part):
    """A binary, content-addressed under `assets/sha256/<hh>/<sha256>`; `path` is where it is installed."""

    name: Name
    sha256: Sha256
    size: int = Field(gt=0)
    path: AbsolutePath
    mode: Mode = 0o755


class Image(Part):
    """A container image archive (`docker save` or OCI layout), content-addressed like an asset."""

    reference: Word  # what static pods name: registry/repository:tag
    sha256: Sha256  # of the archive
    size: int = Field(gt=0)


class Authority(Part):
    """A certificate authority's public half: every certificate in the bundle is trusted, the first one signs.

    Two in one bundle are an authority that is being replaced (etcd-pki.md 3.5).
    """

    name: AuthorityName
    bundle: str  # PEM, one or more certificates
    secret: Name = ""  # the envelope of the first one's private key; `authority-NAME` for the first of its name

    @model_validator(mode="before")
    @classmethod
    def _of_the_first_generation(cls, data: Any) -> Any:
        if isinstance(data, dict) and "secret" not in data:
            return {**data, "secret": f"authority-{data.get('name')}"}
        return data

    @property
    def certificates(self) -> tuple[str, ...]:
        """Each certificate of the bundle as PEM, in its order."""
        begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
        return tuple(f"{begin}{part.partition(end)[0]}{end}\n" for part in self.bundle.split(begin)[1:])

    @property
    def signing(self) -> str:
        """The PEM certificate that signs. Only leaves of it are kept: a new signer re-issues every one."""
        return self.certificates[0] if self.certificates else self.bundle

    @property
    def trusted(self) -> str:
        """All certificates, in an order that does not tell which one signs.

        Who only trusts must not restart when another one begins to sign.
        """
        return "".join(sorted(self.certificates)) or self.bundle


class Trust(Part):
    """Public halves of everything secret; the private halves lie enveloped under `secrets/` (trust.md, Q3)."""

    authorities: tuple[Authority, ...]
    service_account_keys: tuple[str, ...]  # PEM public keys: all verify tokens, the first one signs
    service_account_secret: Name = "service-account"  # noqa: S105  a name: the envelope of the first one's private key
    service_account_issuer: Word
    secrets_key: str  # `awskms:ARN` or `local:ID`: the only key that may open an envelope

    def authority(self, name: AuthorityName) -> Authority:
        for authority in self.authorities:
            if authority.name == name:
                return authority
        raise Invalid("manifest-invalid", f"trust.authorities: no authority named {name!r}")


class Manifest(Part):
    format: Literal[1] = FORMAT
    cluster: Cluster
    group: Group
    kubernetes_version: Version
    network: Network
    api: Api
    etcd: tuple[EtcdCluster, ...]
    trust: Trust
    identity: Identity
    kube_proxy: KubeProxy = KubeProxy()
    node_name: Literal["private-dns", "instance-id"] = "private-dns"
    drift: Literal["report", "repair"] = "report"  # what the hourly run does about changed files and stopped units
    pause_image: Word = "registry.k8s.io/pause:3.10.2"
    components: Components = Components()
    files: tuple[ExtraFile, ...] = ()
    assets: tuple[Asset, ...] = ()
    images: tuple[Image, ...] = ()

    @property
    def minor(self) -> int:
        """The minor of the Kubernetes version: 36 for 1.36.2."""
        return int(self.kubernetes_version.split(".")[1])


class Wave(Part):
    """Machines whose rank in the rollout (`units.rollout.rank`) is at most `cutoff` are let in."""

    cutoff: Sha256
    budget: int = Field(ge=0)  # failures of the rollout that this wave bears


class Rollout(Part):
    """How far the candidate has come. `serial` is that of the release it began with: it orders the machines."""

    serial: int = Field(gt=0)
    waves: tuple[Wave, ...] = Field(min_length=1)
    open: int = Field(default=0, ge=0)  # index of the last wave that is let in
    opened: str  # RFC 3339, UTC: when that was
    state: Literal["queued", "running", "paused", "halted"] = "running"  # queued: a control-plane group goes first
    reason: str = ""  # why it does not run, for people
    bake_seconds: int = Field(default=300, ge=0)  # from the opening of a wave to the next one, at least
    deadline_seconds: int = Field(default=1800, gt=0)  # silent after this long is failed
    heals: bool = False  # machines that are ill may take it too: the operator says that it is the cure
    auto_rollback: bool = False  # over its budget the coordinator takes the candidate back instead of halting

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        cutoffs = [wave.cutoff for wave in self.waves]
        if cutoffs != sorted(set(cutoffs)) or cutoffs[-1] != "f" * 64:
            raise ValueError("the waves' cut-offs must rise, and the last must let in everyone")
        if self.open >= len(self.waves):
            raise ValueError(f"wave {self.open + 1} of {len(self.waves)} cannot be open")
        return self


class Release(Part):
    """What is signed per group, as TUF target `groups/GROUP.json` (DESIGN section 4).

    `serial` only ever grows. While a rollout runs, `candidate` is what the machines of its open waves run.
    """

    format: Literal[1] = FORMAT
    serial: int = Field(gt=0)
    published: str  # RFC 3339, UTC; for people, nothing decides on it
    stable: Manifest
    candidate: Manifest | None = None
    rollout: Rollout | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.candidate is None) != (self.rollout is None):
            raise ValueError("candidate and rollout come together")
        if self.candidate is not None and self.candidate.group.name != self.stable.group.name:
            raise ValueError("candidate and stable manifest are of different groups")
        if self.rollout is not None and self.rollout.serial > self.serial:
            raise ValueError("the rollout began with a later serial than the release's")
        return self


def manifest_digest(manifest: Manifest) -> str:
    """Hex sha256 of the manifest's canonical JSON."""
    text = json.dumps(manifest.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def encode_release(release: Release) -> bytes:
    """Deterministic bytes: same release, same hash."""
    return (json.dumps(release.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()


def decode_release(data: bytes, *, cluster: str, group: str) -> Release:
    """Read a verified release document, and refuse one that was made for somebody else (DESIGN section 4)."""
    if len(data) > MAX_BYTES:
        raise Invalid("manifest-too-large", f"release document of {len(data)} bytes; at most {MAX_BYTES}")
    try:
        release = Release.model_validate_json(data)
    except ValidationError as error:
        raise Invalid(
            "manifest-invalid",
            "the release document does not fit this agent's schema",
            problems=problems_of(error),
            remedy="publish with a coordinator of the agent's version, or update the image",
        ) from error
    found = (release.stable.cluster.name, release.stable.group.name)
    if found != (cluster, group):
        raise Refused(
            "manifest-for-another-group",
            f"the release document is for cluster {found[0]!r} group {found[1]!r}, "
            f"but this node is enrolled for cluster {cluster!r} group {group!r}",
            remedy="somebody signed the wrong document under this group's name: check `coordinator history`",
        )
    return release


def problems_of(error: ValidationError) -> tuple[Problem, ...]:
    """Every pydantic error as a problem with its field path."""
    return tuple(
        Problem(
            path=".".join(str(part) for part in item["loc"]),
            message=f"{item['msg']} (found {str(item.get('input'))[:80]!r})",
        )
        for item in error.errors(include_url=False)
    )
