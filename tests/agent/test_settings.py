import json

import pytest

from agent import settings as enrolment
from agent.quick_poll import read_record
from agent.settings import Settings
from units.errors import Invalid, Refused

GOOD = {
    "store": "s3://demo-bucket/clusters",
    "cluster": "demo.example",
    "group": "control-plane",
    "region": "eu-west-1",
    "root_version": 2,
    "root_sha256": "a" * 64,
    "targets_version": 7,
}


def made(**changes: object) -> Settings:
    return Settings.model_validate({**GOOD, **changes})


def as_json(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def user_data(**changes: object) -> bytes:
    command = json.dumps({**GOOD, **changes})
    return f"#cloud-config\nruncmd: [[agent, enroll, '{command}']]\n".encode()


def test_the_bucket_and_the_clusters_prefix_come_from_the_store() -> None:
    assert (made().bucket, made().prefix) == ("demo-bucket", "clusters/demo.example/")
    assert (made(store="s3://b-b").bucket, made(store="s3://b-b").prefix) == ("b-b", "demo.example/")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("store", "https://demo-bucket"),
        ("store", "s3://Demo"),
        ("store", "s3://demo-bucket/../other"),
        ("store", "s3://demo-bucket/"),
        ("cluster", "Demo"),
        ("cluster", "a/b"),
        ("group", ""),
        ("group", "../x"),
        ("group", "x\n"),
        ("region", "mars"),
        ("root_version", 0),
        ("root_version", "2"),
        ("root_version", True),
        ("root_sha256", "A" * 64),
        ("root_sha256", "a" * 63),
        ("targets_version", -1),
        ("endpoint", "http://host/path"),
        ("endpoint", "file:///etc/passwd"),
        ("surprise", 1),
        ("v", 2),
    ],
)
def test_every_bad_field_is_named_with_its_path(field, value) -> None:
    with pytest.raises(Invalid) as caught:
        enrolment.decode(as_json(**{field: value}), source="here")
    assert [problem.path for problem in caught.value.problems] == [field]
    assert caught.value.exit_code == 2
    assert "here" in caught.value.message


def test_all_problems_come_at_once() -> None:
    with pytest.raises(Invalid) as caught:
        enrolment.decode(b'{"store": 1, "group": "G"}', source="x")
    assert {problem.path for problem in caught.value.problems} >= {"store", "group", "cluster", "root_sha256"}


@pytest.mark.parametrize("data", [b"", b"[]", b"not json", b"\xff", b"[" * 9000, b" " * 20_000])
def test_what_is_no_enrolment_at_all_is_invalid(data) -> None:
    with pytest.raises(Invalid):
        enrolment.decode(data, source="x")


def test_written_settings_read_back_and_belong_to_root_alone(tmp_path) -> None:
    path = tmp_path / "etc" / "agent.json"
    enrolment.write(made(endpoint="http://127.0.0.1:5000"), path)
    assert enrolment.read(path) == made(endpoint="http://127.0.0.1:5000")
    assert path.stat().st_mode & 0o777 == 0o600
    assert enrolment.read(tmp_path / "nothing.json") is None


def test_the_quick_poll_reads_the_same_from_the_file(tmp_path) -> None:
    path = tmp_path / "agent.json"
    for settings in (made(), made(store="s3://b-b", region=None, endpoint="http://127.0.0.1:5000")):
        enrolment.write(settings, path)
        record = read_record(path)
        for name in ("store", "cluster", "group", "bucket", "prefix", "root_version", "targets_version", "endpoint"):
            assert getattr(record, name) == getattr(settings, name)
        assert record.region == settings.region


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"store": "s3://b"}', b"\xff"])
def test_the_quick_poll_leaves_anything_odd_to_the_long_way(tmp_path, content) -> None:
    (tmp_path / "agent.json").write_bytes(content)
    assert read_record(tmp_path / "agent.json") is None
    assert read_record(tmp_path / "absent.json") is None


def test_floors_only_rise() -> None:
    newer = {"root_version": 3, "root_sha256": "b" * 64, "targets_version": 9}
    assert enrolment.merge(made(), made(**newer)) == made(**newer)
    assert enrolment.merge(made(**newer), made()) == made(**newer)
    assert enrolment.merge(made(targets_version=9), made(root_version=3, root_sha256="b" * 64)) == made(**newer)


def test_region_and_endpoint_follow_the_user_data() -> None:
    moved = enrolment.merge(made(endpoint="http://old"), made(endpoint="http://new", region=None))
    assert (moved.endpoint, moved.region) == ("http://new", "eu-west-1")


@pytest.mark.parametrize("field", ["store", "cluster", "group"])
def test_an_enrolled_machine_never_changes_sides(tmp_path, field) -> None:
    path = tmp_path / "agent.json"
    enrolment.write(made(), path)
    before = path.read_bytes()
    with pytest.raises(Refused, match=field) as caught:
        enrolment.enroll(made(**{field: "s3://other-bucket" if field == "store" else "other"}), path)
    assert caught.value.code == "enrolment-conflict"
    assert path.read_bytes() == before


def test_two_roots_of_one_version_are_a_conflict() -> None:
    with pytest.raises(Refused, match="two different roots"):
        enrolment.merge(made(), made(root_sha256="b" * 64))


def test_enrolling_twice_writes_once(tmp_path) -> None:
    path = tmp_path / "agent.json"
    enrolment.enroll(made(), path)
    inode = path.stat().st_ino
    enrolment.enroll(made(targets_version=1), path)
    assert path.stat().st_ino == inode
    enrolment.enroll(made(targets_version=8), path)
    assert enrolment.read(path).targets_version == 8


def test_a_first_boot_enrols_from_user_data_and_the_next_raises_the_floors(tmp_path) -> None:
    path = tmp_path / "agent.json"
    assert enrolment.find(user_data, path) == made()
    assert enrolment.find(lambda: user_data(targets_version=8), path).targets_version == 8
    assert enrolment.find(lambda: user_data(targets_version=1), path).targets_version == 8
    assert enrolment.find(lambda: None, path).targets_version == 8


def test_a_machine_that_nobody_enrolled_says_so(tmp_path) -> None:
    with pytest.raises(Invalid, match="not enrolled") as caught:
        enrolment.find(lambda: b"#!/bin/sh\necho hello\n", tmp_path / "agent.json")
    assert caught.value.code == "not-enrolled"
    assert "coordinator userdata" in caught.value.remedy
