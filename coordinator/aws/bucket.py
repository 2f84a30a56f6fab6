"""Make and harden the bucket that holds clusters."""

import json
from collections.abc import Callable
from typing import Any

from coordinator.aws.session import Aws, error_code, translated
from units.errors import Fatal

# The region whose buckets are made without a LocationConstraint; S3 refuses one that names it.
_FIRST_REGION = "us-east-1"
_PRIVATE = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
# What a power cut leaves of an upload is in no listing, and paid for. S3 counts from the upload's beginning, and none
# of ours takes three hours.
_TIDY = {
    "Rules": [
        {
            "ID": "bootwright-abandoned-uploads",
            "Filter": {},
            "Status": "Enabled",
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        }
    ]
}


def bucket_exists(aws: Aws, bucket: str) -> bool:
    from botocore.exceptions import ClientError

    client = aws.client("s3")
    with translated("s3:ListBucket", f"arn:aws:s3:::{bucket}"):
        try:
            client.head_bucket(Bucket=bucket)
        except ClientError as error:
            if error_code(error) in {"404", "NoSuchBucket"}:
                return False
            raise
    return True


def is_versioned(aws: Aws, bucket: str) -> bool:
    with translated("s3:GetBucketVersioning", f"arn:aws:s3:::{bucket}"):
        return bool(aws.client("s3").get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled")


def create_bucket(aws: Aws, bucket: str) -> tuple[str, ...]:
    """Make it if it is not there, and harden it; safe to run again. Returns what was done, for people."""
    from botocore.exceptions import ClientError

    client, arn = aws.client("s3"), f"arn:aws:s3:::{bucket}"
    region = client.meta.region_name
    done = []
    if not bucket_exists(aws, bucket):
        place = {} if region == _FIRST_REGION else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        with translated("s3:CreateBucket", arn):
            try:
                client.create_bucket(Bucket=bucket, **place)
            except ClientError as error:
                if error_code(error) == "BucketAlreadyExists":
                    raise Fatal(
                        "bucket-name-taken",
                        f"the bucket name {bucket!r} belongs to another AWS account",
                        remedy="choose another bucket in `store`",
                    ) from error
                if error_code(error) != "BucketAlreadyOwnedByYou":
                    raise
        done.append(f"bucket {bucket} in {region}")
    with translated("s3:PutBucketPublicAccessBlock", arn):
        client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=_PRIVATE)
    with translated("s3:PutBucketVersioning", arn):
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    done += ["versioning on", "public access blocked"]
    if not _has_lifecycle(client, bucket):
        with translated("s3:PutLifecycleConfiguration", arn):
            client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=_TIDY)
        done.append("abandoned uploads end after a day")
    # A plain-http endpoint is a local test region: a TLS-only policy would lock everybody out.
    if not (aws.endpoint_url or "").startswith("http://") and not _has_policy(client, bucket):
        with translated("s3:PutBucketPolicy", arn):
            client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(_tls_only(bucket, client.meta.partition)))
        done.append("plain http refused")
    return tuple(done)


def _has_policy(client: Any, bucket: str) -> bool:
    with translated("s3:GetBucketPolicy", f"arn:aws:s3:::{bucket}"):
        return _has(lambda: client.get_bucket_policy(Bucket=bucket), "NoSuchBucketPolicy")


def _has_lifecycle(client: Any, bucket: str) -> bool:
    """Rules of somebody's own stay as they are: S3 replaces all of them at once."""
    with translated("s3:GetLifecycleConfiguration", f"arn:aws:s3:::{bucket}"):
        read = client.get_bucket_lifecycle_configuration
        return _has(lambda: read(Bucket=bucket), "NoSuchLifecycleConfiguration")


def _has(read: Callable[[], object], missing: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        read()
    except ClientError as error:
        if error_code(error) == missing:
            return False
        raise
    return True


def _tls_only(bucket: str, partition: str) -> dict[str, Any]:
    arn = f"arn:{partition}:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "PlainHttpIsRefused",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }
