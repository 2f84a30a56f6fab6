"""What people and their pipelines may do.

They publish, stop rollouts, keep the repository fresh, make kubeconfigs, restore etcd.
"""

from collections.abc import Iterator

from coordinator.iam.place import Place
from coordinator.iam.statements import Statement, allow, deny, list_some, only_if_conditional, secrets_key, signing_keys
from coordinator.layout import HALT, METADATA, OUTCOME, STATUS, TIMESTAMP
from units.envelope import authority_secret, object_key

SNAPSHOTS = f"{METADATA}*.snapshot.json"


def publisher(place: Place) -> Iterator[Statement]:
    """For init in a bucket that is there, assets, publish, rollouts, rotation, status. Seals secrets, opens none."""
    sealed = object_key("*")
    read = ["tuf/*", "assets/*", sealed, f"{STATUS}*", f"{HALT}*"]
    yield allow("ReadRepositoryAndReports", "s3:GetObject", place.objects(*read))
    yield list_some("ListCluster", place, place.listed("*"), missing_is_404=True)
    yield allow("SeeVersioning", "s3:GetBucketVersioning", place.bucket_arn)
    yield allow("Publish", "s3:PutObject", place.objects("tuf/*", "assets/*", sealed))
    yield only_if_conditional("NeverOverwriteUnseen", place.objects(f"{METADATA}*", sealed))
    yield allow("StopAndGoOn", ["s3:PutObject", "s3:DeleteObject"], place.objects(f"{HALT}*"))
    yield from _inventory(place)
    yield allow("GiveUpUploads", "s3:AbortMultipartUpload", place.objects("assets/*"))
    yield from secrets_key("SealSecrets", place, "kms:GenerateDataKey")
    yield from signing_keys(sorted({*place.keys.targets, *place.keys.online}))


def _inventory(place: Place) -> Iterator[Statement]:
    """The live fleet, whose ranks decide who goes first (DESIGN section 7), and why a silent machine does not boot."""
    here = {"StringEquals": {"aws:RequestedRegion": place.region}}
    yield allow("LookAround", ["ec2:DescribeInstances", "ec2:DescribeInstanceStatus"], "*", here)
    owned = {f"aws:ResourceTag/kubernetes.io/cluster/{place.cluster}": "owned"}
    yield allow("ReadConsoles", "ec2:GetConsoleOutput", place.ec2("instance"), {"StringEquals": owned})


def on_call(place: Place) -> Iterator[Statement]:
    """`status`, `validate`, `rollout status`, `halt` and `unhalt`: it sees what is no secret, and can only stop."""
    yield allow("ReadSignedAndReports", "s3:GetObject", place.objects("tuf/*", f"{STATUS}*", f"{HALT}*"))
    seen = place.listed("tuf/*", f"{STATUS}*", f"{HALT}*", f"{OUTCOME}*")
    yield list_some("ListSignedAndReports", place, seen, missing_is_404=True)
    yield allow("StopAndGoOn", ["s3:PutObject", "s3:DeleteObject"], place.objects(f"{HALT}*"))
    yield from _inventory(place)


def refresher(place: Place) -> Iterator[Statement]:
    """`coordinator refresh` and nothing else: it can change neither content nor keys."""
    fresh = [TIMESTAMP, SNAPSHOTS]
    yield allow("ReadMetadata", "s3:GetObject", place.objects(f"{METADATA}*"))
    yield list_some("ListMetadata", place, place.listed(f"{METADATA}*"), missing_is_404=True)
    yield allow("SignFreshness", "s3:PutObject", place.objects(*fresh))
    yield only_if_conditional("NeverOverwriteUnseen", place.objects(*fresh))
    yield from signing_keys(place.keys.online)


def administrator(place: Place) -> Iterator[Statement]:
    """`coordinator kubeconfig`. Whoever may open the CA's key is an administrator of the cluster, whatever else."""
    first = authority_secret("kubernetes")
    names = [first, f"{first}-*"]  # and, after a rotation, its successors (units.envelope.later_secret)
    yield allow("ReadSignedAndAuthority", "s3:GetObject", place.objects("tuf/*", *map(object_key, names)))
    yield list_some("ListMetadata", place, place.listed(f"{METADATA}*"), missing_is_404=True)
    yield from secrets_key("OpenAuthority", place, "kms:Decrypt", names=names)


def restorer(place: Place) -> Iterator[Statement]:
    """`coordinator etcd backups` and `restore`: it chooses a backup, and can neither read nor change nor delete one.

    The one object that it writes is the bootstrap record, and only over what it has seen: to create it anew would let a
    lost volume look like a new cluster.
    """
    records = place.objects("etcd/*/cluster.json")
    told = ["etcd/*/cluster.json", "etcd/*/backups/*/meta.json", "etcd/*/backups/*/verified.json", f"{STATUS}*"]
    yield allow("ReadRecordsAndReports", "s3:GetObject", place.objects(*told))
    yield list_some("ListBackupsAndReports", place, place.listed("etcd/*", f"{STATUS}*"), missing_is_404=True)
    yield allow("BeginGeneration", "s3:PutObject", records)
    yield deny("OnlyOverWhatWasSeen", "s3:PutObject", records, {"Null": {"s3:if-match": "true"}})
