"""Where a cluster's things lie, as ARNs, and which KMS keys it uses."""

from dataclasses import dataclass, field

from coordinator.spec.cluster import ClusterSpec
from units.partitions import partition_of


@dataclass(frozen=True, slots=True)
class Keys:
    """ARNs of KMS keys, as far as keys are in KMS. uid: what `coordinator init` named the cluster, None before."""

    uid: str | None = None
    secrets: str | None = None
    targets: tuple[str, ...] = ()
    online: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """One cluster in AWS."""

    cluster: str
    region: str
    bucket: str
    prefix: str  # the cluster's folder in the bucket, without slashes at its ends
    vpc: str
    etcd: tuple[str, ...]
    volume_keys: tuple[str, ...] = ()  # KMS keys of etcd's volumes, where they are not the account's default
    keys: Keys = field(default_factory=Keys)

    @property
    def partition(self) -> str:
        return partition_of(self.region)

    @property
    def bucket_arn(self) -> str:
        return f"arn:{self.partition}:s3:::{self.bucket}"

    def objects(self, *keys: str) -> list[str]:
        """ARNs of objects by their keys in the cluster's folder."""
        return [f"{self.bucket_arn}/{self.prefix}/{key}" for key in keys]

    def listed(self, *prefixes: str) -> list[str]:
        """Values of s3:prefix."""
        return [f"{self.prefix}/{prefix}" for prefix in prefixes]

    def ec2(self, kind: str) -> str:
        """All `kind`s of the region; the account is the role's own, since EC2 asks no other account's policies."""
        return f"arn:{self.partition}:ec2:{self.region}:*:{kind}/*"


def place_of(spec: ClusterSpec, keys: Keys) -> Place:
    return Place(
        cluster=spec.name,
        region=spec.region,
        bucket=spec.bucket,
        prefix=spec.prefix,
        vpc=spec.network.vpc,
        etcd=tuple(etcd.name for etcd in spec.etcd_clusters),
        volume_keys=tuple(sorted({etcd.volume.kms_key for etcd in spec.etcd_clusters if etcd.volume.kms_key})),
        keys=keys,
    )
