import contextlib
import gzip
import json
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.settings import Settings
from agent.user_data import parse_user_data
from units.errors import Invalid

ENROLMENT = {
    "store": "s3://demo-bucket",
    "cluster": "demo",
    "group": "nodes",
    "root_version": 1,
    "root_sha256": "a" * 64,
    "targets_version": 1,
}
JSON = json.dumps(ENROLMENT)
SETTINGS = Settings.model_validate(ENROLMENT)
PRINTED = f"#cloud-config\nruncmd: [[agent, enroll, '{JSON}']]\n".encode()


def multipart(*parts: tuple[str, str]) -> bytes:
    message = MIMEMultipart()
    for text, kind in parts:
        message.attach(MIMEText(text, kind, "utf-8"))
    return message.as_bytes()


@pytest.mark.parametrize(
    "data",
    [
        PRINTED,
        gzip.compress(PRINTED),
        b"\n\n" + PRINTED,
        PRINTED.replace(b"\n", b"\r\n"),
        f"#cloud-config\nruncmd:\n  - echo hello\n  - [/usr/local/bin/agent, enroll, '{JSON}']\n".encode(),
        f"#cloud-config\nruncmd:\n  - |\n    agent enroll '{JSON}'\n".encode(),
        b"#cloud-config\n" + json.dumps({"runcmd": [["agent", "enroll", JSON]]}).encode(),
        f"#!/bin/sh\nset -e\n  /usr/local/bin/agent enroll '{JSON}'\necho \"it's done\"\n".encode(),
        multipart((f"#!/bin/sh\nagent enroll '{JSON}'\n", "x-shellscript")),
        multipart(("#!/bin/sh\necho hi\n", "x-shellscript"), (PRINTED.decode(), "cloud-config")),
        gzip.compress(multipart((PRINTED.decode(), "cloud-config"))),
        multipart((PRINTED.decode(), "cloud-config"), (PRINTED.decode(), "cloud-config")),
    ],
)
def test_the_enrolment_is_found(data) -> None:
    assert parse_user_data(data) == SETTINGS


def test_what_the_coordinator_prints_is_under_a_kilobyte_even_at_its_longest() -> None:
    longest = {**ENROLMENT, "store": "s3://" + "b" * 63, "cluster": "c" * 60, "group": "g" * 60, "root_version": 9999}
    printed = f"#cloud-config\nruncmd: [[agent, enroll, '{json.dumps(longest)}']]\n".encode()
    assert len(printed) < 1024
    assert parse_user_data(printed) == Settings.model_validate(longest)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"#!/bin/sh\necho agent enroll '{}'\n",
        b'#!/bin/sh\nagent enroll "$SETTINGS"\n',
        b"agent enroll '{}'\n",
        b"#cloud-config\nruncmd: [[echo, agent, enroll]]\n",
        b"#cloud-config\nruncmd: agent enroll\n",
        b"#cloud-config\npackages: [vim]\n",
        b"#cloud-config\n- a list\n",
        b'#cloud-config\nruncmd: ["agent enroll \'open quote"]\n',
        b"\xff\xfe\x00",
        multipart(("#!/bin/sh\n", "x-shellscript")),
    ],
)
def test_user_data_without_an_enrolment_has_none(data) -> None:
    assert parse_user_data(data) is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"#cloud-config\nruncmd: [[agent, enroll]]\n", "takes one argument"),
        (b"#cloud-config\nruncmd: [[agent, enroll, '{', x]]\n", "runcmd[0]"),
        (b"#cloud-config\nruncmd: [echo, [agent, enroll, 'not json']]\n", "runcmd[1][2]"),
        (b"#cloud-config\nruncmd: [[agent, enroll, '{}']]\n", "root_sha256"),
        (b"#cloud-config\nruncmd: [", "not YAML"),
        (b"#cloud-config\n" + b"[" * 10_000, "not YAML"),
        (b"x" * 17_000, "EC2 allows"),
        (b"\x1f\x8b broken", "not gzip"),
        (gzip.compress(b"#cloud-config\n" + b"#" * 300_000), "unpacks to more than"),
        (
            PRINTED.replace(b"]]", b"], [agent, enroll, '" + JSON.replace("nodes", "others").encode() + b"']]"),
            "different",
        ),
    ],
)
def test_an_enrolment_that_cannot_be_read_says_where(data, words) -> None:
    with pytest.raises(Invalid) as caught:
        parse_user_data(data)
    assert words in str(caught.value)
    assert caught.value.remedy


def test_a_mail_of_a_thousand_parts_is_refused() -> None:
    with pytest.raises(Invalid, match="MIME parts"):
        parse_user_data(multipart(*[("x", "plain")] * 60))


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_parser(data) -> None:
    for whole in (data, b"#cloud-config\n" + data, gzip.compress(data), b"\x1f\x8b" + data):
        with contextlib.suppress(Invalid):
            parse_user_data(whole)


@given(st.text(max_size=200))
def test_no_yaml_crashes_the_parser(text) -> None:
    with contextlib.suppress(Invalid):
        parse_user_data(f"#cloud-config\nruncmd: [[agent, enroll, {text}]]\n".encode())
