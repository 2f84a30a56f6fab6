"""EBS volumes: which speeds go with which type."""

from collections.abc import Iterator

from coordinator.spec.etcd import EtcdVolume
from coordinator.spec.problems import Path
from coordinator.spec.rules.finding import Draft, Finding, Rule

# AWS, "Amazon EBS volume types": type -> (fewest, most IOPS, most IOPS for each GiB).
_IOPS = {"gp3": (3000, 80000, 500), "io1": (100, 64000, 50), "io2": (100, 256000, 1000)}


def speeds(draft: Draft) -> Iterator[Finding]:
    for index, cluster in enumerate(draft.spec.etcd_clusters):
        base: Path = ("etcdClusters", index, "volume")
        yield from _iops(cluster.volume, base)
        yield from _throughput(cluster.volume, base)
        if cluster.volume.kms_key is not None and not cluster.volume.encrypted:
            remedy = "remove kmsKey, or set encrypted to true"
            yield Finding((*base, "kmsKey"), "a key for a volume that is not encrypted", "encrypted: true", remedy)


def _iops(volume: EtcdVolume, base: Path) -> Iterator[Finding]:
    if volume.type == "gp2":
        if volume.iops is not None:
            yield Finding(
                (*base, "iops"), str(volume.iops), "nothing: gp2 has no provisioned IOPS", "use gp3, it is cheaper"
            )
        return
    fewest, most, for_each_gib = _IOPS[volume.type]
    if volume.iops is None:
        allowed = f"iops from {fewest} to {most}"
        yield Finding((*base, "iops"), "nothing", allowed, f"{volume.type} needs it; gp3 does not")
        return
    # Every gp3 volume has the first 3000, however small it is.
    most = min(most, max(for_each_gib * volume.size_gib, fewest))
    if not fewest <= volume.iops <= most:
        allowed = f"{fewest} to {most} for {volume.size_gib} GiB of {volume.type}"
        yield Finding((*base, "iops"), str(volume.iops), allowed)


def _throughput(volume: EtcdVolume, base: Path) -> Iterator[Finding]:
    if volume.throughput is None:
        return
    if volume.type != "gp3":
        yield Finding(
            (*base, "throughput"), str(volume.throughput), f"nothing: {volume.type} has none", "only gp3 has it"
        )
    elif volume.iops is not None and volume.throughput * 4 > volume.iops:
        allowed = f"at most a quarter of iops ({volume.iops // 4})"
        yield Finding((*base, "throughput"), str(volume.throughput), allowed, "raise iops")


RULES = (Rule((), speeds),)
