"""What S3 answers, in the words of somebody who must do something about it."""

from collections.abc import Iterator
from typing import Any

import pytest

from coordinator.aws.bucket import bucket_exists, create_bucket, is_versioned
from coordinator.aws.s3 import CONFLICT_WAITS, S3Store
from coordinator.aws.session import Aws
from coordinator.store import Conflict
from units.errors import Fatal, Retryable


class Scripted:
    """A real client of botocore whose answers are scripted: moto never says 409 (trust.md, moto S3 facts)."""

    def __init__(self) -> None:
        import boto3
        from botocore.stub import Stubber

        self.client: Any = boto3.client("s3", region_name="eu-west-1")
        self.stubber = Stubber(self.client)
        self.stubber.activate()
        self.waits: list[float] = []
        self.store = S3Store(Aws(), "bucket", "prod", client=self.client, sleep=self.waits.append)

    def fails(self, operation: str, code: str, status: int, message: str = "") -> None:
        self.stubber.add_client_error(operation, code, message, http_status_code=status)


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    made = Scripted()
    yield made
    made.client.close()


def test_a_409_is_tried_again(scripted: Scripted) -> None:
    scripted.fails("put_object", "ConditionalRequestConflict", 409)
    scripted.fails("put_object", "ConditionalRequestConflict", 409)
    scripted.stubber.add_response("put_object", {"ETag": '"e"'})
    assert scripted.store.put("a", b"x", if_none_match=True) == '"e"'
    assert scripted.waits == list(CONFLICT_WAITS[:2])


def test_a_409_that_does_not_end_is_for_later(scripted: Scripted) -> None:
    for _ in range(len(CONFLICT_WAITS) + 1):
        scripted.fails("put_object", "ConditionalRequestConflict", 409)
    with pytest.raises(Retryable, match="409") as caught:
        scripted.store.put("a", b"x", if_match='"e"')
    assert caught.value.code == "store-busy"


def test_a_412_is_a_conflict_at_once(scripted: Scripted) -> None:
    scripted.fails("put_object", "PreconditionFailed", 412)
    with pytest.raises(Conflict):
        scripted.store.put("a", b"x", if_none_match=True)
    assert scripted.waits == []


def test_replacing_an_object_that_is_gone_is_a_conflict(scripted: Scripted) -> None:
    scripted.fails("put_object", "NoSuchKey", 404)
    with pytest.raises(Conflict):
        scripted.store.put("a", b"x", if_match='"e"')


@pytest.mark.parametrize(
    ("operation", "call", "action", "object_name"),
    [
        ("get_object", lambda store: store.get("a/b"), "s3:GetObject", "arn:aws:s3:::bucket/prod/a/b"),
        ("put_object", lambda store: store.put("a/b", b""), "s3:PutObject", "arn:aws:s3:::bucket/prod/a/b"),
        ("list_objects_v2", lambda store: list(store.list("a/")), "s3:ListBucket", "arn:aws:s3:::bucket"),
        ("head_object", lambda store: store.size("a/b"), "s3:GetObject", "arn:aws:s3:::bucket/prod/a/b"),
    ],
)
def test_access_denied_names_the_action_and_the_object(
    scripted: Scripted, operation: str, call: Any, action: str, object_name: str
) -> None:
    scripted.fails(operation, "403" if operation == "head_object" else "AccessDenied", 403, "no")
    with pytest.raises(Fatal) as caught:
        call(scripted.store)
    assert caught.value.code == "aws-access-denied"
    assert action in caught.value.message
    assert object_name in caught.value.message
    assert action in caught.value.remedy


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("ExpiredToken", 400, "aws-credentials-refused"),
        ("InvalidAccessKeyId", 403, "aws-credentials-refused"),
        ("PermanentRedirect", 301, "aws-wrong-region"),
        ("SlowDown", 503, "aws-busy"),
        ("NoSuchBucket", 404, "store-bucket-missing"),
        ("SomethingNew", 400, "aws-error"),
    ],
)
def test_each_refusal_has_its_own_code(scripted: Scripted, code: str, status: int, expected: str) -> None:
    scripted.fails("get_object", code, status)
    with pytest.raises((Fatal, Retryable)) as caught:
        scripted.store.get("a")
    assert caught.value.code == expected


def test_a_missing_bucket_says_how_to_make_it(aws: Aws) -> None:
    store = S3Store(aws, "no-such-bucket-here", "prod")
    for call in (lambda: store.get("a"), lambda: store.put("a", b""), lambda: list(store.list("a"))):
        with pytest.raises(Fatal, match="no such bucket") as caught:
            call()
        assert "--create-bucket" in caught.value.remedy


def test_an_endpoint_that_does_not_answer_is_for_later() -> None:
    store = S3Store(Aws("eu-west-1", "http://127.0.0.1:9"), "bucket", "prod")
    with pytest.raises(Retryable) as caught:
        store.get("a")
    assert caught.value.code == "aws-unreachable"


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch, moto_endpoint: str) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Fatal) as caught:
        S3Store(Aws("eu-west-1", moto_endpoint), "bucket", "prod").get("a")
    assert caught.value.code == "aws-credentials-missing"


def test_a_made_bucket_is_versioned_and_not_public_and_making_it_again_is_no_error(aws: Aws) -> None:
    first = create_bucket(aws, "cluster-bucket")
    again = create_bucket(aws, "cluster-bucket")
    assert first[0] == "bucket cluster-bucket in eu-west-1"
    assert "bucket cluster-bucket in eu-west-1" not in again
    assert bucket_exists(aws, "cluster-bucket")
    assert is_versioned(aws, "cluster-bucket")
    blocked = aws.client("s3").get_public_access_block(Bucket="cluster-bucket")["PublicAccessBlockConfiguration"]
    assert all(blocked.values())
    assert len(blocked) == 4


def test_a_bucket_behind_https_refuses_plain_http() -> None:
    from coordinator.aws.bucket import _tls_only

    (statement,) = _tls_only("bucket", "aws-cn")["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Resource"] == ["arn:aws-cn:s3:::bucket", "arn:aws-cn:s3:::bucket/*"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_a_made_bucket_ends_abandoned_uploads_and_keeps_rules_of_somebodys_own(aws: Aws) -> None:
    create_bucket(aws, "tidy-bucket")
    s3 = aws.client("s3")
    [rule] = s3.get_bucket_lifecycle_configuration(Bucket="tidy-bucket")["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert rule["Status"] == "Enabled"
    assert "Expiration" not in rule
    own = {"ID": "own", "Filter": {"Prefix": "logs/"}, "Status": "Enabled", "Expiration": {"Days": 9}}
    s3.put_bucket_lifecycle_configuration(Bucket="tidy-bucket", LifecycleConfiguration={"Rules": [own]})
    assert "abandoned uploads end after a day" not in create_bucket(aws, "tidy-bucket")
    assert [rule["ID"] for rule in s3.get_bucket_lifecycle_configuration(Bucket="tidy-bucket")["Rules"]] == ["own"]
