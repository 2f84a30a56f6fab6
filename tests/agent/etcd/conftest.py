"""A bucket in moto, and a single real member."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.aws.credentials import Credentials
from agent.aws.s3 import S3, Bucket
from agent.etcd.admin import EtcdClients
from agent.etcd.backup import BackupTaker
from agent.etcd.bucket import BackupBucket
from agent.etcd.tools import EtcdTools
from agent.etcd.trial import RestoreTester
from agent.waits import Waits
from tests.real_etcd.binaries import binaries
from tests.real_etcd.cluster import RealCluster, real_cluster

PREFIX = "demo/"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with real_cluster(tmp_path_factory.mktemp("one")) as cluster:
        yield cluster


@pytest.fixture
def objects(moto_endpoint: str) -> Iterator[object]:
    """The bucket as boto3 sees it, to look at and to damage."""
    import boto3

    resource = boto3.resource(
        "s3", endpoint_url=moto_endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    bucket = resource.create_bucket(Bucket="etcd-bucket")
    bucket.objects.delete()
    return bucket


@pytest.fixture
def s3(objects: object, moto_endpoint: str) -> S3:
    del objects
    return S3(Bucket("etcd-bucket", "us-east-1", moto_endpoint), lambda: Credentials("AKID", "secret"))


@pytest.fixture
def bucket(s3: S3) -> BackupBucket:
    return BackupBucket(s3, PREFIX, "main")


@pytest.fixture
def tools() -> EtcdTools:
    return EtcdTools(folders=(str(binaries()),))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


def clients_of(cluster: RealCluster) -> EtcdClients:
    return EtcdClients(cluster.client_urls, cluster.pki.authorities, cluster.pki.client)


@pytest.fixture
def taker(one: RealCluster, bucket: BackupBucket, tools: EtcdTools, place: Path) -> BackupTaker:
    return BackupTaker("demo", bucket, clients_of(one), lambda: datetime.now(UTC), tools, (place,))


@pytest.fixture
def tester(one: RealCluster, bucket: BackupBucket, tools: EtcdTools, place: Path) -> RestoreTester:
    return RestoreTester(
        bucket, clients_of(one), one.pki.server, "i-1", lambda: datetime.now(UTC), tools, Waits(), (place,)
    )
