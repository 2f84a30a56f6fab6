"""Files that go to S3 in parts: against moto, and against a double that is as strict as S3 and fails when told to."""

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.aws import s3_errors
from agent.aws.credentials import Credentials
from agent.aws.http import Timeouts
from agent.aws.multipart import size_of_parts
from agent.aws.s3 import PARTS, S3, Bucket, PartSizes
from tests.agent.aws.parts_double import Fault, PartsS3Double, Refusal
from units.errors import BootwrightError, Fatal, Retryable

KEYS = Credentials("AKIDTEST", "secret", "token", source="role demo-nodes")
KEY = "demo/etcd/main/backups/x y:z/snapshot.db"
GIB = 1024**3
MIB = 1024**2
CONTENT = os.urandom(2500)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
SMALL = PartSizes(above=1000, least=1000)  # CONTENT makes three
ALL = ["begin", "part 1", "part 2", "part 3", "complete"]


def composite(content: bytes, size: int) -> str:
    parts = [content[begin : begin + size] for begin in range(0, len(content), size)]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


@pytest.fixture
def double(tmp_path: Path) -> Iterator[PartsS3Double]:
    double = PartsS3Double(tmp_path, smallest=1000)
    yield double
    double.close()


@pytest.fixture
def s3(double: PartsS3Double, waits) -> S3:
    bucket = Bucket("b-b", "eu-west-1", double.url)
    return S3(bucket, lambda: KEYS, waits=waits, timeouts=Timeouts(0.5, 2.0, 5.0), limit=20.0)


def put(s3: S3, content: bytes = CONTENT, *, sha256: str = DIGEST, parts: PartSizes = SMALL) -> str:
    return s3.put_file(KEY, io.BytesIO(content), size=len(CONTENT), sha256=sha256, parts=parts)


def test_a_large_file_goes_in_parts_and_comes_back_whole(double: PartsS3Double, s3: S3) -> None:
    stored = put(s3)
    assert stored == composite(CONTENT, 1000)
    assert double.asked == ALL
    head = s3.head(KEY)
    assert (head.size, head.sha256) == (len(CONTENT), stored)
    file = io.BytesIO()
    assert s3.get_to_file(KEY, file, size=len(CONTENT)) == DIGEST
    assert file.getvalue() == CONTENT


def test_a_download_that_is_cut_goes_on_over_the_borders_of_parts(double: PartsS3Double, s3: S3) -> None:
    put(s3)
    double.cut_after = 1700
    assert s3.get_to_file(KEY, io.BytesIO(), size=len(CONTENT)) == DIGEST
    assert double.asked[len(ALL) :] == ["get 0-", "get 1700-"]


def test_up_to_the_threshold_it_is_one_request(server, answer, waits) -> None:
    server.script(answer(200))
    s3 = S3(Bucket("b-b", "eu-west-1", server.url), lambda: KEYS, waits=waits)
    assert put(s3, parts=PartSizes(above=len(CONTENT), least=1000)) == DIGEST
    assert [(method, body) for method, _path, _headers, body in server.requests] == [("PUT", CONTENT)]


def test_one_byte_above_the_threshold_it_is_parts(double: PartsS3Double, s3: S3) -> None:
    put(s3, parts=PartSizes(above=len(CONTENT) - 1, least=1000))
    assert double.asked == ALL


def test_the_usual_backup_still_is_one_request_and_five_gibibytes_are_the_most_of_it() -> None:
    assert PARTS.above == 5 * GIB


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (5 * GIB + 1, 64 * MIB),
        (8 * GIB, 64 * MIB),
        (10_000 * 64 * MIB, 64 * MIB),
        (10_000 * 64 * MIB + 1, 65 * MIB),
        (5 * 1024 * GIB, 525 * MIB),
    ],
)
def test_there_are_never_more_than_ten_thousand_parts(size: int, expected: int) -> None:
    found = size_of_parts(size, PARTS.least)
    assert found == expected
    assert -(-size // found) <= 10_000
    assert 5 * MIB <= found <= 5 * GIB


def test_moto_keeps_what_was_sent_in_parts(objects_of_moto, waits) -> None:
    bucket, endpoint = objects_of_moto
    content = os.urandom(11 * MIB)
    s3 = S3(Bucket(bucket.name, "us-east-1", endpoint), lambda: KEYS, waits=waits)
    digest = hashlib.sha256(content).hexdigest()
    parts = PartSizes(10 * MIB, 5 * MIB)  # S3's least
    stored = s3.put_file(KEY, io.BytesIO(content), size=len(content), sha256=digest, parts=parts)
    head = s3.head(KEY)
    assert (head.size, head.sha256) == (len(content), stored) == (len(content), composite(content, 5 * MIB))
    assert s3.get_to_file(KEY, io.BytesIO(), size=len(content)) == digest
    assert list(bucket.multipart_uploads.all()) == []


def test_moto_has_nothing_left_of_what_failed_in_the_middle(objects_of_moto, waits) -> None:
    bucket, endpoint = objects_of_moto
    asked: list[int] = []

    def credentials() -> Credentials:
        asked.append(len(list(bucket.multipart_uploads.all())))
        if len(asked) == 3:  # begin, part 1, part 2
            raise Fatal("no-credentials", "the role is gone")
        return KEYS

    s3 = S3(Bucket(bucket.name, "us-east-1", endpoint), credentials, waits=waits)
    with pytest.raises(Fatal) as caught:
        put(s3)
    assert caught.value.code == "no-credentials"
    assert asked == [0, 1, 1, 1]  # the last is to abort
    assert list(bucket.multipart_uploads.all()) == []
    assert list(bucket.objects.all()) == []


@pytest.fixture
def objects_of_moto(moto_endpoint: str) -> Iterator[tuple[object, str]]:
    import boto3

    resource = boto3.resource(
        "s3", endpoint_url=moto_endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    bucket = resource.create_bucket(Bucket="parts-bucket")
    yield bucket, moto_endpoint
    bucket.objects.delete()


def test_a_part_that_s3_did_not_take_is_sent_again_alone(double: PartsS3Double, s3: S3) -> None:
    busy = Refusal(503, "SlowDown")
    double.faults = [Fault("part 2", 2, busy), Fault("part 3", 1)]  # the third's answer is lost
    assert put(s3) == composite(CONTENT, 1000)
    assert double.asked == ["begin", "part 1", "part 2", "part 2", "part 2", "part 3", "part 3", "complete"]


@pytest.mark.parametrize(
    ("fault", "code", "asked"),
    [
        (Fault("begin", 99, Refusal(403, "AccessDenied")), "s3-access-denied", ["begin"]),
        (Fault("part 1", 99, Refusal(403, "AccessDenied")), "s3-access-denied", ["begin", "part 1", "abort"]),
        (Fault("part 2", 99, Refusal(404, "NoSuchUpload")), "s3-no-such-upload", [*ALL[:3], "abort"]),
        (Fault("complete", 99, Refusal(400, "InvalidPart")), "s3-unexpected", [*ALL, "abort"]),
        (Fault("complete", 99, Refusal(200, "InvalidPart")), "s3-unexpected", [*ALL, "abort"]),
    ],
    ids=lambda value: value.what if isinstance(value, Fault) else None,
)
def test_what_fails_for_good_is_given_up_at_once_and_leaves_nothing(double, s3, fault, code, asked) -> None:
    double.faults = [fault]
    with pytest.raises(BootwrightError) as caught:
        put(s3)
    assert caught.value.code == code
    assert double.asked == asked
    assert (double.uploads, double.objects) == ({}, {})


def test_an_error_in_a_200_is_an_error_and_asked_again(double: PartsS3Double, s3: S3, said) -> None:
    double.faults = [Fault("complete", 2, Refusal(200, "InternalError"))]
    assert put(s3) == composite(CONTENT, 1000)
    assert double.asked == [*ALL, "complete", "complete"]
    assert "200 InternalError" in said[0]


def test_an_error_in_a_200_that_stays_is_no_success(double: PartsS3Double, s3: S3) -> None:
    double.faults = [Fault("complete", 999, Refusal(200, "InternalError"))]
    with pytest.raises(s3_errors.Transient, match="200 InternalError"):
        put(s3)
    assert double.asked[-1] == "abort"
    assert (double.uploads, double.objects) == ({}, {})


def test_a_completion_whose_answer_was_lost_counts_because_s3_tells_the_same_checksum(double, s3) -> None:
    double.faults = [Fault("complete")]
    assert put(s3) == composite(CONTENT, 1000)
    assert double.asked == [*ALL, "complete", "head"]


def test_a_completion_that_met_no_upload_and_no_object_is_a_failure(double: PartsS3Double, s3: S3) -> None:
    double.faults = [Fault("complete", 9, Refusal(404, "NoSuchUpload"))]
    with pytest.raises(s3_errors.NoSuchUpload):
        put(s3)
    assert double.asked == [*ALL, "head", "abort"]


def test_a_file_that_is_not_what_was_promised_is_never_completed(double: PartsS3Double, s3: S3) -> None:
    changed = bytearray(CONTENT)
    changed[1500] ^= 1
    with pytest.raises(Fatal) as caught:
        put(s3, bytes(changed))
    assert caught.value.code == "s3-file-changed"
    assert double.asked == [*ALL[:-1], "abort"]
    assert (double.uploads, double.objects) == ({}, {})


def test_a_file_that_became_shorter_is_not_sent_on(double: PartsS3Double, s3: S3) -> None:
    with pytest.raises(Fatal, match="fewer than 2500 bytes"):
        put(s3, CONTENT[:1999])
    assert double.asked == ["begin", "part 1", "abort"]


def test_bytes_that_changed_on_the_way_are_sent_again(double: PartsS3Double, s3: S3) -> None:
    double.faults = [Fault("part 1", 1, Refusal(400, "BadDigest"))]
    put(s3)
    assert double.asked == ["begin", "part 1", "part 1", "part 2", "part 3", "complete"]


def test_the_double_itself_refuses_what_s3_would(double: PartsS3Double, s3: S3) -> None:
    """Else the tests above would prove little."""
    double.smallest = 1001
    with pytest.raises(Fatal, match="EntityTooSmall"):
        put(s3)


def test_giving_up_is_bounded_and_hides_nothing(double: PartsS3Double, s3: S3, clock, caplog) -> None:
    double.faults = [
        Fault("part 2", 99, Refusal(403, "AccessDenied")),
        Fault("abort", 999, Refusal(503, "SlowDown")),
    ]
    with pytest.raises(s3_errors.AccessDenied):
        put(s3)
    assert clock.now <= 15.0
    assert "until the bucket's lifecycle ends them" in caplog.text


def test_who_may_not_abort_is_told_which_permission_is_missing(double: PartsS3Double, s3: S3, caplog) -> None:
    double.faults = [
        Fault("part 2", 99, Refusal(403, "AccessDenied")),
        Fault("abort", 999, Refusal(403, "AccessDenied")),
    ]
    with pytest.raises(s3_errors.AccessDenied, match="s3:PutObject"):
        put(s3)
    assert "s3:AbortMultipartUpload" in caplog.text


def test_all_parts_together_have_a_deadline(double: PartsS3Double, waits, clock) -> None:
    """Each part alone could take its time: a thousand slow ones must not hold the rounds up for days."""

    def credentials() -> Credentials:
        clock.now += 12.0  # of the 20 and a few that 2500 bytes may take
        return KEYS

    bucket = Bucket("b-b", "eu-west-1", double.url)
    s3 = S3(bucket, credentials, waits=waits, timeouts=Timeouts(0.5, 2.0, 5.0), limit=20.0)
    with pytest.raises(Retryable) as caught:
        put(s3)
    assert caught.value.code == "s3-too-slow"
    assert double.asked == ["begin", "part 1", "abort"]
