"""What the lab takes a request to S3 for: its policies hang on that."""

import io

import pytest

from tests.lab.region.calls import read_call


@pytest.mark.parametrize(
    ("method", "target", "action"),
    [
        ("PUT", "/b/k", "PutObject"),
        ("DELETE", "/b/k", "DeleteObject"),
        ("POST", "/b/k?uploads", "PutObject"),
        ("PUT", "/b/k?partNumber=1&uploadId=x", "PutObject"),
        ("POST", "/b/k?uploadId=x", "PutObject"),
        ("DELETE", "/b/k?uploadId=x", "AbortMultipartUpload"),
        ("PUT", "/b?lifecycle", "PutLifecycleConfiguration"),
        ("GET", "/b?lifecycle=", "GetLifecycleConfiguration"),
        ("GET", "/b/?list-type=2", "ListBucket"),
    ],
)
def test_each_request_to_s3_is_the_action_that_iam_knows(method: str, target: str, action: str) -> None:
    environ = {"REQUEST_METHOD": method, "REQUEST_URI": target, "CONTENT_LENGTH": "0", "wsgi.input": io.BytesIO()}
    with (call := read_call(environ)).body:
        assert (call.service, call.action, call.bucket) == ("s3", action, "b")
