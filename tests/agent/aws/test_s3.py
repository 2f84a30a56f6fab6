import hashlib
import io
from datetime import UTC, datetime

import pytest

from agent.aws import s3_errors
from agent.aws.credentials import Credentials
from agent.aws.http import Timeouts
from agent.aws.s3 import S3, Bucket
from units.errors import BootwrightError, Fatal, Refused, Retryable

KEYS = Credentials("AKIDTEST", "secret", "token", source="role demo-nodes")
FAST = Timeouts(0.5, 1.0, 2.0)


@pytest.fixture
def bucket(moto_endpoint) -> Bucket:
    import boto3

    client = boto3.client(
        "s3", endpoint_url=moto_endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="s3-test-bucket")
    for item in client.list_objects_v2(Bucket="s3-test-bucket").get("Contents", []):
        client.delete_object(Bucket="s3-test-bucket", Key=item["Key"])
    return Bucket("s3-test-bucket", "us-east-1", moto_endpoint)


@pytest.fixture
def s3(bucket, waits) -> S3:
    return S3(bucket, lambda: KEYS, waits=waits)


@pytest.fixture
def scripted(server, waits) -> S3:
    return S3(Bucket("s3-test-bucket", "eu-west-1", server.url), lambda: KEYS, waits=waits, timeouts=FAST)


def test_what_was_put_is_got_with_its_etag(s3) -> None:
    etag = s3.put("demo/status/i-1.json", b"hello")
    found = s3.get("demo/status/i-1.json", max_bytes=5)
    assert (found.body, found.etag) == (b"hello", etag)
    assert s3.get("demo/status/i-1.json", max_bytes=5, if_none_match=etag).body is None


def test_keys_with_odd_characters_survive_the_trip(s3) -> None:
    key = "demo/a b+c=d&e?f/ü~%41"
    s3.put(key, b"x")
    assert s3.get(key, max_bytes=1).body == b"x"


def test_an_empty_object_can_be_put_and_got(s3) -> None:
    s3.put("demo/outcome/g/1/ok/i-1", b"")
    assert s3.get("demo/outcome/g/1/ok/i-1", max_bytes=0).body == b""


def test_conditional_writes_lose_to_who_was_first(s3) -> None:
    etag = s3.put("demo/etcd/main/cluster.json", b"1", if_none_match="*")
    with pytest.raises(s3_errors.PreconditionFailed):
        s3.put("demo/etcd/main/cluster.json", b"2", if_none_match="*")
    s3.put("demo/etcd/main/cluster.json", b"3", if_match=etag)
    with pytest.raises(s3_errors.PreconditionFailed):
        s3.put("demo/etcd/main/cluster.json", b"4", if_match=etag)
    assert s3.get("demo/etcd/main/cluster.json", max_bytes=9).body == b"3"


def test_a_large_object_streams_into_a_file_and_is_hashed(s3) -> None:
    content = bytes(range(256)) * 4096
    s3.put("assets/x", content)
    file = io.BytesIO(b"rubbish that was longer before" * 100_000)
    assert s3.get_to_file("assets/x", file, size=len(content)) == hashlib.sha256(content).hexdigest()
    assert file.getvalue() == content


@pytest.mark.parametrize(("size", "code"), [(9, "s3-object-too-long"), (11, "s3-wrong-size")])
def test_a_file_of_another_size_than_signed_is_refused(s3, size, code) -> None:
    s3.put("assets/x", b"0123456789")
    with pytest.raises(Refused) as caught:
        s3.get_to_file("assets/x", io.BytesIO(), size=size)
    assert caught.value.code == code


def test_an_object_longer_than_allowed_is_refused(s3) -> None:
    s3.put("x", b"12345")
    with pytest.raises(s3_errors.TooLong) as caught:
        s3.get("x", max_bytes=4)
    assert "s3-test-bucket/x" in str(caught.value)


def test_a_missing_object_and_a_missing_bucket_are_told_apart(s3, bucket, waits) -> None:
    with pytest.raises(s3_errors.NoSuchKey):
        s3.get("nothing/here", max_bytes=1)
    absent = S3(Bucket("no-such-bucket-here", bucket.region, bucket.endpoint), lambda: KEYS, waits=waits)
    with pytest.raises(Fatal, match="no-such-bucket-here") as caught:
        absent.get("x", max_bytes=1)
    assert caught.value.code == "s3-no-such-bucket"
    assert "coordinator init" in caught.value.remedy


def xml(code: str, message: str = "words", more: str = "") -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>'.encode()


REFUSALS = [
    (403, xml("AccessDenied", "no identity-based policy"), {}, "s3-access-denied", 4),
    (403, b"", {}, "s3-access-denied", 4),
    (403, xml("RequestTimeTooSkewed"), {"Date": "Mon, 23 Nov 2026 10:00:00 GMT"}, "s3-clock-skew", 4),
    (403, xml("InvalidAccessKeyId"), {}, "s3-credentials-refused", 4),
    (403, xml("SignatureDoesNotMatch"), {}, "s3-credentials-refused", 4),
    (404, xml("NoSuchBucket"), {}, "s3-no-such-bucket", 1),
    (404, xml("NoSuchKey"), {}, "s3-no-such-key", 1),
    (301, xml("PermanentRedirect"), {"x-amz-bucket-region": "us-east-2"}, "s3-wrong-region", 1),
    (400, xml("AuthorizationHeaderMalformed"), {"x-amz-bucket-region": "us-east-2"}, "s3-wrong-region", 1),
    (307, b"", {"Location": "http://127.0.0.1:1/"}, "s3-redirect", 4),
    (400, xml("ExpiredToken"), {}, "s3-expired-token", 4),
    (503, xml("SlowDown"), {}, "s3-slow-down", 4),
    (500, b"<html>", {}, "s3-slow-down", 4),
    (409, xml("ConditionalRequestConflict"), {}, "s3-slow-down", 4),
    (412, xml("PreconditionFailed"), {}, "s3-precondition-failed", 4),
    (418, b"", {}, "s3-unexpected", 1),
    (403, b"x" * 100_000, {}, "s3-access-denied", 4),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: f"{refusal[0]}-{refusal[3]}")
def test_each_refusal_has_its_code_names_the_object_and_says_what_to_do(scripted, server, answer, refusal) -> None:
    status, body, headers, code, exit_code = refusal
    server.script(answer(status, body, headers))
    with pytest.raises(BootwrightError) as caught:
        scripted.get("demo/tuf/metadata/timestamp.json", max_bytes=10)
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert caught.value.remedy
    assert (
        "s3-test-bucket" in str(caught.value) or "role demo-nodes" in str(caught.value) or "clock" in str(caught.value)
    )


def test_access_denied_names_key_credentials_and_the_action_that_is_missing(scripted, server, answer) -> None:
    server.script(answer(403, xml("AccessDenied", "no identity-based policy allows it")))
    with pytest.raises(s3_errors.AccessDenied) as caught:
        scripted.put("demo/status/i-1.json", b"x")
    for part in ("s3://s3-test-bucket/demo/status/i-1.json", "role demo-nodes", "s3:PutObject", "no identity-based"):
        assert part in str(caught.value)
    assert "arn:aws:s3:::s3-test-bucket/demo/status/i-1.json" in caught.value.remedy
    assert len(server.requests) == 1  # asking again would not help


def test_an_endless_answer_to_a_put_is_not_read_on(scripted, server, answer) -> None:
    server.script(answer(200, b"x" * 70_000))
    with pytest.raises(Fatal) as caught:
        scripted.put("demo/status/i-1.json", b"x")
    assert caught.value.code == "s3-answer-unreadable"


def test_a_skewed_clock_is_told_with_both_times(scripted, server, answer) -> None:
    server.script(answer(403, xml("RequestTimeTooSkewed"), {"Date": "Mon, 23 Nov 2026 10:00:00 GMT"}))
    with pytest.raises(Retryable) as caught:
        scripted.get("k", max_bytes=1)
    assert f"{datetime.now(UTC):%Y-%m-%d}" in str(caught.value)
    assert caught.value.remedy.startswith("check time")


def test_a_busy_s3_is_asked_again_until_it_answers(scripted, server, answer, said) -> None:
    server.script(answer(503, xml("SlowDown")), answer(500), answer(200, b"ok"))
    assert scripted.get("k", max_bytes=2).body == b"ok"
    assert said[0].startswith("S3 GET k: s3-slow-down: S3 is busy (503 SlowDown)")


def test_expired_credentials_are_renewed_and_the_request_goes_on(server, answer, waits) -> None:
    server.script(answer(400, xml("ExpiredToken")), answer(200, b"ok"))
    current = [Credentials("AKIDOLD", "s", "t"), Credentials("AKIDNEW", "s", "t")]
    client = S3(
        Bucket("b-b", "eu-west-1", server.url), lambda: current[0], renew=lambda: current.pop(0) and None, waits=waits
    )
    assert client.get("k", max_bytes=2).body == b"ok"
    assert ["AKIDNEW" in headers["authorization"] for _, _, headers, _ in server.requests] == [False, True]


def test_an_unreachable_s3_is_retried_then_named(waits, clock) -> None:
    client = S3(Bucket("b-b", "eu-west-1", "http://127.0.0.1:1"), lambda: KEYS, waits=waits)
    with pytest.raises(Retryable, match="Connection refused") as caught:
        client.get("k", max_bytes=1)
    assert caught.value.code == "s3-unreachable"
    assert clock.now >= 60


def test_the_answer_of_a_dripping_server_is_not_waited_for(server, waits) -> None:
    import time

    def drip(handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")
        try:
            for _ in range(600):
                handler.wfile.write(b"x")
                time.sleep(0.02)
        except OSError:
            pass

    server.raw = drip
    client = S3(
        Bucket("b-b", "eu-west-1", server.url), lambda: KEYS, waits=waits, timeouts=Timeouts(0.5, 1, 0.3), limit=0
    )
    with pytest.raises(Retryable, match="no complete answer within"):
        client.get("k", max_bytes=9000)


@pytest.mark.parametrize(
    ("bucket", "url"),
    [
        (Bucket("demo", "eu-west-1"), "https://demo.s3.eu-west-1.amazonaws.com/a/b"),
        (Bucket("demo.example", "eu-west-1"), "https://s3.eu-west-1.amazonaws.com/demo.example/a/b"),
        (Bucket("demo", "cn-north-1"), "https://demo.s3.cn-north-1.amazonaws.com.cn/a/b"),
        (Bucket("demo", "eu-west-1", "http://127.0.0.1:5000/"), "http://127.0.0.1:5000/demo/a/b"),
    ],
)
def test_addresses(bucket, url) -> None:
    assert bucket.url("a/b") == url


@pytest.mark.parametrize("key", ["../x", "a/./b", "a//b", "/a", "a/"])
def test_keys_that_an_http_client_would_rewrite_are_never_asked_for(key) -> None:
    with pytest.raises(ValueError, match="not a plain S3 key"):
        Bucket("demo", "eu-west-1").url(key)


def test_objects_do_not_print_their_content(s3) -> None:
    s3.put("x", b"private")
    assert "private" not in repr(s3.get("x", max_bytes=10))


def test_a_file_is_put_with_its_checksum_and_head_tells_it(s3) -> None:
    content = bytes(range(256)) * 10_000
    digest = hashlib.sha256(content).hexdigest()
    file = io.BytesIO(content)
    file.seek(77)  # it is sent from its beginning
    s3.put_file("demo/etcd/main/backups/x y:z/snapshot.db", file, size=len(content), sha256=digest)
    head = s3.head("demo/etcd/main/backups/x y:z/snapshot.db")
    assert (head.size, head.sha256) == (len(content), digest)
    with pytest.raises(s3_errors.NoSuchKey):
        s3.head("demo/none")


def test_a_listing_tells_keys_with_odd_characters_and_sizes(s3) -> None:
    keys = [f"demo/list/{number:04} &<>%+é" for number in range(3)]
    for key in keys:
        s3.put(key, b"1")
    assert [(one.key, one.size) for one in s3.list("demo/list/", most=3)] == [(key, 1) for key in keys]
    assert [one.key for one in s3.list("demo/list/0001", most=3)] == [keys[1]]
    assert s3.list("demo/nothing/", most=10) == ()
    with pytest.raises(s3_errors.TooLong):
        s3.list("demo/list/", most=2)


def test_a_listing_goes_over_all_pages_and_stops_at_the_limit(server, answer, waits) -> None:
    s3 = S3(Bucket("s3-test-bucket", "eu-west-1", server.url), lambda: KEYS, waits=waits, timeouts=FAST)

    def page(key: str, token: str) -> bytes:
        following = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
        modified = "<LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        contents = f"<Contents><Key>{key}</Key>{modified}<Size>7</Size></Contents>"
        return f"<ListBucketResult>{contents}{following}</ListBucketResult>".encode()

    server.script(answer(200, page("p/a%20b", "t&amp;/+=")), answer(200, page("p/c", "")))
    assert [one.key for one in s3.list("p/", most=2)] == ["p/a b", "p/c"]
    assert "continuation-token=t%26%2F%2B%3D" in server.requests[1][1]
    server.script(answer(200, page("p/a", "more")))
    with pytest.raises(s3_errors.TooLong):
        s3.list("p/", most=3)


def test_a_deleted_object_is_gone_and_deleting_it_again_is_fine(s3) -> None:
    s3.put("demo/gone", b"1")
    s3.delete("demo/gone")
    s3.delete("demo/gone")
    with pytest.raises(s3_errors.NoSuchKey):
        s3.get("demo/gone", max_bytes=1)


def test_a_file_that_was_damaged_on_the_way_is_sent_again(server, answer, waits) -> None:
    s3 = S3(Bucket("s3-test-bucket", "eu-west-1", server.url), lambda: KEYS, waits=waits, timeouts=FAST)
    server.script(answer(400, b"<Error><Code>BadDigest</Code><Message>no</Message></Error>"), answer(200))
    s3.put_file("k", io.BytesIO(b"abc"), size=3, sha256=hashlib.sha256(b"abc").hexdigest())
    assert [body for _method, _path, _headers, body in server.requests] == [b"abc", b"abc"]
