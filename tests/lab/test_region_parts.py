"""A control-plane node's backup in parts, where signatures are checked and its policy decides; moto does neither."""

import hashlib
import io
import os
from collections.abc import Iterator
from typing import Any

import pytest

from agent.aws.credentials import Credentials
from agent.aws.s3 import S3, Bucket, PartSizes
from agent.aws.s3_errors import AccessDenied
from tests.lab.region.client import LabClient
from tests.lab.region.guest import Guest
from tests.lab.region.roles import BUCKET, CLUSTER
from units.errors import Fatal

pytestmark = pytest.mark.slow
KEY = f"{CLUSTER}/etcd/main/backups/2026-01-01T00:00:00Z-7/snapshot.db"
MIB = 1024**2
CONTENT = os.urandom(11 * MIB)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PARTS = PartSizes(above=5 * MIB, least=5 * MIB)


@pytest.fixture
def bucket(lab: LabClient) -> Any:
    s3 = lab.aws("s3")
    if BUCKET not in [found["Name"] for found in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return s3


@pytest.fixture
def node(lab: LabClient, bucket: Any) -> Iterator[S3]:
    """The client of a running control-plane node, with the credentials of its instance profile."""
    instance = lab.run_instance("control-plane-a")
    lab.wait_for_state(instance, "running")
    guest = Guest(lab.state["imds_url"], lab.endpoint_url, lab.instance(instance)["private_ip"])
    found = guest.credentials()
    keys = Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["Token"], source="its role")
    yield S3(Bucket(BUCKET, "eu-west-1", lab.endpoint_url), lambda: keys, instance_id=instance)
    lab.terminate(instance)


def put(node: S3, key: str = KEY, sha256: str = DIGEST) -> str:
    return node.put_file(key, io.BytesIO(CONTENT), size=len(CONTENT), sha256=sha256, parts=PARTS)


def uploads(bucket: Any) -> list[str]:
    return [one["Key"] for one in bucket.list_multipart_uploads(Bucket=BUCKET).get("Uploads", ())]


def test_it_is_stored_and_read_back(node: S3, bucket: Any) -> None:
    stored = put(node)
    head = node.head(KEY)
    assert (head.size, head.sha256) == (len(CONTENT), stored)
    assert node.get_to_file(KEY, io.BytesIO(), size=len(CONTENT)) == DIGEST
    assert uploads(bucket) == []


def test_what_is_given_up_is_gone_because_the_policy_allows_just_that(node: S3, bucket: Any) -> None:
    with pytest.raises(Fatal, match="is not stored"):
        put(node, sha256="0" * 64)
    assert uploads(bucket) == []


def test_nothing_but_backups_goes_up_in_parts(node: S3, bucket: Any) -> None:
    """The bootstrap record among them: parts must not be a way around its conditions."""
    for key in (f"{CLUSTER}/assets/sha256/00/x", f"{CLUSTER}/etcd/main/cluster.json"):
        with pytest.raises(AccessDenied):
            put(node, key)
    assert uploads(bucket) == []
