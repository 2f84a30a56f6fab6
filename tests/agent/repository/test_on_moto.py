"""The whole way over moto's S3: signatures, conditional reads, XML errors as a real server writes them."""

import pytest

from agent.aws.credentials import Credentials
from agent.aws.s3 import S3, Bucket
from agent.repository import Repository
from units.errors import BootwrightError


@pytest.fixture
def on_moto(bench, moto_endpoint, waits):
    import boto3

    client = boto3.client(
        "s3", endpoint_url=moto_endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="trust-bucket")

    def upload() -> None:
        for key, body in bench.objects.items():
            client.put_object(Bucket="trust-bucket", Key=key, Body=body)

    def node(bucket: str = "trust-bucket") -> Repository:
        s3 = S3(Bucket(bucket, "us-east-1", moto_endpoint), lambda: Credentials("A", "b", source="role x"), waits=waits)
        settings = bench.publisher.settings(store=f"s3://{bucket}", targets_version=1, root_version=1)
        return Repository(settings, s3, clock=bench.clock, state_dir=bench.state, baked_root=bench.baked)

    return upload, node


def test_a_release_comes_through_and_a_publish_shows(bench, publisher, on_moto) -> None:
    upload, node = on_moto
    upload()
    assert node().refresh().condition == "Fresh"
    assert not node().changed_since()
    publisher.publish({"control-plane": b"next"})
    upload()
    assert node().changed_since()
    assert node().refresh().release == b"next"


def test_a_missing_bucket_says_so(on_moto) -> None:
    _, node = on_moto
    with pytest.raises(BootwrightError) as caught:
        node("bucket-that-nobody-made").refresh()
    assert (caught.value.code, caught.value.exit_code) == ("s3-no-such-bucket", 1)


def test_an_empty_bucket_says_what_is_missing(on_moto, moto_endpoint) -> None:
    import boto3

    boto3.client(
        "s3", endpoint_url=moto_endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    ).create_bucket(Bucket="empty-bucket")
    _, node = on_moto
    with pytest.raises(BootwrightError, match=r"1\.root\.json does not exist") as caught:
        node("empty-bucket").refresh()
    assert (caught.value.code, caught.value.exit_code) == ("trust-object-missing", 4)
