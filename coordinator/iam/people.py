"""What people and their pipelines may do: publish, keep the repository fresh, make kubeconfigs."""

from collections.abc import Iterator

from coordinator.iam.place import Place
from coordinator.iam.statements import Statement, allow, list_some, only_if_conditional, secrets_key, signing_keys
from coordinator.layout import METADATA, STATUS, TIMESTAMP
from units.envelope import authority_secret, object_key

SNAPSHOTS = f"{METADATA}*.snapshot.json"


def publisher(place: Place) -> Iterator[Statement]:
    """For init in a bucket that is there, assets, publish, userdata, history, status. Seals secrets, opens none."""
    sealed = object_key("*")
    yield allow("ReadRepositoryAndReports", "s3:GetObject", place.objects("tuf/*", "assets/*", sealed, f"{STATUS}*"))
    yield list_some("ListCluster", place, place.listed("*"), missing_is_404=True)
    yield allow("SeeVersioning", "s3:GetBucketVersioning", place.bucket_arn)
    yield allow("Publish", "s3:PutObject", place.objects("tuf/*", "assets/*", sealed))
    yield only_if_conditional("NeverOverwriteUnseen", place.objects(f"{METADATA}*", sealed))
    yield allow("GiveUpUploads", "s3:AbortMultipartUpload", place.objects("assets/*"))
    yield from secrets_key("SealSecrets", place, "kms:GenerateDataKey")
    yield from signing_keys(sorted({*place.keys.targets, *place.keys.online}))


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
    secret = authority_secret("kubernetes")
    yield allow("ReadSignedAndAuthority", "s3:GetObject", place.objects("tuf/*", object_key(secret)))
    yield list_some("ListMetadata", place, place.listed(f"{METADATA}*"), missing_is_404=True)
    yield from secrets_key("OpenAuthority", place, "kms:Decrypt", name=secret)
