"""A large object over a connection that is cut again and again."""

import hashlib
import io
import os
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from agent.aws.credentials import Credentials
from agent.aws.http import Timeouts
from agent.aws.s3 import S3, Bucket
from units.errors import Refused, Retryable

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KEYS = Credentials("AKIDTEST", "secret", "token", source="role demo-nodes")


class CuttingS3Double:
    """One object, with ranges and ETags as S3 has them. The n-th answer ends after `cuts[n]` bytes of its body."""

    def __init__(self, *cuts: int) -> None:
        self.content = CONTENT
        self.cuts = list(cuts)
        self.ranges = True
        self.asked: list[tuple[str, str]] = []  # Range, If-Match
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                double.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted, match = handler.headers.get("Range", ""), handler.headers.get("If-Match", "")
        self.asked.append((wanted, match))
        etag = f'"{hashlib.md5(self.content).hexdigest()}"'
        if match and match != etag:
            handler.send_response(412)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        found = re.fullmatch(r"bytes=(\d+)-", wanted) if self.ranges else None
        begin = int(found[1]) if found else 0
        body = self.content[begin:]
        handler.send_response(206 if found else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("ETag", etag)
        if found:
            handler.send_header("Content-Range", f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}")
        handler.end_headers()
        handler.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)
        handler.close_connection = True


@pytest.fixture
def cutting() -> Iterator[CuttingS3Double]:
    double = CuttingS3Double()
    thread = threading.Thread(target=double.server.serve_forever, daemon=True)
    thread.start()
    yield double
    double.server.shutdown()
    double.server.server_close()


@pytest.fixture
def s3(cutting: CuttingS3Double, waits) -> S3:
    url = f"http://127.0.0.1:{cutting.server.server_port}"
    return S3(Bucket("b-b", "eu-west-1", url), lambda: KEYS, waits=waits, timeouts=Timeouts(1.0, 5.0, 20.0))


def test_only_the_rest_is_asked_for_after_a_cut(cutting: CuttingS3Double, s3: S3) -> None:
    cutting.cuts = [100_000, 50_000]
    file = io.BytesIO()
    assert s3.get_to_file("x", file, size=len(CONTENT)) == SHA256
    assert file.getvalue() == CONTENT
    etag = f'"{hashlib.md5(CONTENT).hexdigest()}"'
    assert cutting.asked == [("", ""), ("bytes=100000-", etag), ("bytes=150000-", etag)]


def test_what_an_earlier_agent_left_is_gone_on_with(cutting: CuttingS3Double, s3: S3) -> None:
    file = io.BytesIO(CONTENT[:250_000])
    assert s3.get_to_file("x", file, size=len(CONTENT)) == SHA256
    assert cutting.asked == [("bytes=250000-", "")]


def test_a_whole_file_is_not_asked_for(cutting: CuttingS3Double, s3: S3) -> None:
    assert s3.get_to_file("x", io.BytesIO(CONTENT), size=len(CONTENT)) == SHA256
    assert cutting.asked == []


def test_an_object_that_is_replaced_meanwhile_is_read_from_its_beginning(cutting: CuttingS3Double, s3: S3) -> None:
    cutting.cuts = [100_000]
    other = os.urandom(len(CONTENT))
    answer = cutting.answer

    def replaced(handler: BaseHTTPRequestHandler) -> None:
        if cutting.asked:
            cutting.content = other
        answer(handler)

    cutting.answer = replaced  # type: ignore[method-assign]  # the double's own, from its second answer on
    file = io.BytesIO()
    assert s3.get_to_file("x", file, size=len(CONTENT)) == hashlib.sha256(other).hexdigest()
    assert file.getvalue() == other


def test_a_server_without_ranges_is_read_from_the_beginning(cutting: CuttingS3Double, s3: S3) -> None:
    cutting.cuts, cutting.ranges = [100_000], False
    file = io.BytesIO()
    assert s3.get_to_file("x", file, size=len(CONTENT)) == SHA256
    assert file.getvalue() == CONTENT


def test_a_server_that_always_cuts_is_given_up_and_what_came_stays(cutting: CuttingS3Double, s3: S3) -> None:
    cutting.cuts = [1000] + [0] * 1000
    file = io.BytesIO()
    with pytest.raises(Retryable, match="the answer ended"):
        s3.get_to_file("x", file, size=len(CONTENT))
    assert file.getvalue() == CONTENT[:1000]


def test_an_object_shorter_than_signed_is_refused_at_once(cutting: CuttingS3Double, s3: S3) -> None:
    with pytest.raises(Refused) as refused:
        s3.get_to_file("x", io.BytesIO(), size=len(CONTENT) + 1)
    assert refused.value.code == "s3-wrong-size"
    assert len(cutting.asked) == 1


def test_siblings_ask_for_credentials_one_after_the_other(cutting: CuttingS3Double, waits) -> None:
    """The client of IMDS is made for one thread."""
    inside = threading.Lock()

    def credentials() -> Credentials:
        assert inside.acquire(blocking=False)
        threading.Event().wait(0.01)
        inside.release()
        return KEYS

    url = f"http://127.0.0.1:{cutting.server.server_port}"
    client = S3(Bucket("b-b", "eu-west-1", url), credentials, waits=waits)
    found: list[str] = []
    siblings = [
        threading.Thread(
            target=lambda: found.append(client.sibling().get_to_file("x", io.BytesIO(), size=len(CONTENT)))
        )
        for _ in range(4)
    ]
    for thread in siblings:
        thread.start()
    for thread in siblings:
        thread.join()
    assert found == [SHA256] * 4
