"""etcd clusters: members, the zones they live in, and the volumes that carry their identity."""

from typing import Annotated, Literal

from pydantic import Field

from coordinator.spec.model import SpecModel
from coordinator.spec.words import Label, Text, Zone

KmsKey = Annotated[
    str,
    Text(
        r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(?:key|alias)/[A-Za-z0-9/_-]+"
        r"|alias/[A-Za-z0-9/_-]+|[0-9a-f-]{36}|mrk-[0-9a-f]{32}",
        "the ARN, id or alias of a KMS key",
        "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        2048,
    ),
]


class EtcdVolume(SpecModel):
    """The EBS volume under each member. The volume, not the machine, is the member."""

    size_gib: Annotated[int, Field(ge=1, le=16384)] = 20
    """Size in GiB. It can grow later, never shrink."""
    type: Literal["gp3", "gp2", "io1", "io2"] = "gp3"
    """EBS volume type. etcd's commit latency is the disk's: gp3 is enough for most, io2 for very large clusters."""
    iops: Annotated[int, Field(ge=100, le=256000)] | None = None
    """Provisioned operations per second. gp3: 3000 when left out; io1 and io2: must be given; gp2: has none."""
    throughput: Annotated[int, Field(ge=125, le=2000)] | None = None
    """MiB per second, gp3 only: 125 when left out."""
    encrypted: bool = True
    """Whether EBS encrypts the volume. etcd holds every Secret of the cluster."""
    kms_key: KmsKey | None = None
    """The KMS key for the volume. The account's default EBS key when left out."""


class EtcdMember(SpecModel):
    """One member: a volume in a zone, and the instance group that runs it."""

    name: Label
    """Short name, unique in its etcd cluster; it names the volume's tag and the peer, and never changes."""
    zone: Zone
    """The zone of the member's volume. An EBS volume never leaves its zone."""
    group: Label | None = None
    """The control-plane group that runs the member. Found by zone when left out, if one group is there."""


class EtcdCluster(SpecModel):
    """One etcd cluster."""

    name: Literal["main", "events"]
    """`main` holds everything; `events` takes Kubernetes events, so that a storm of them cannot fill main's quota."""
    members: Annotated[tuple[EtcdMember, ...], Field(min_length=1, max_length=5)]
    """1, 3 or 5 members. Two tolerate no more failures than one."""
    volume: EtcdVolume = EtcdVolume()
    """The volume of each member."""
