"""Userdata: what the agent reads is what the coordinator wrote, and it pins the state it was made from."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from agent.user_data import parse_user_data
from coordinator.userdata import MAX_BYTES, Enrolment, render_userdata
from tests.coordinator.test_publish import look, manifest_of, sign
from tests.coordinator.workshop import CLUSTER, Workshop
from units.errors import Invalid

ENROLMENT = Enrolment("s3://clusters/prod", CLUSTER, "eu-west-1", "http://192.0.2.1:5000")


@pytest.fixture
def userdata(workshop: Workshop) -> str:
    state = sign(workshop, look(workshop, manifest_of("workers"))).state
    return render_userdata(ENROLMENT, "workers", state)


def test_the_agent_reads_what_was_pinned(workshop: Workshop, userdata: str) -> None:
    settings = parse_user_data(userdata.encode())
    assert settings is not None
    assert (settings.store, settings.cluster, settings.group) == ("s3://clusters/prod", CLUSTER, "workers")
    assert (settings.region, settings.endpoint) == ("eu-west-1", "http://192.0.2.1:5000")
    root = workshop.store.get("tuf/metadata/1.root.json")
    assert root is not None
    assert (settings.root_version, settings.root_sha256) == (1, hashlib.sha256(root.body).hexdigest())
    assert settings.targets_version == workshop.repository.read().targets.version == 2


def test_it_is_one_command_of_cloud_init_without_a_shell(userdata: str) -> None:
    assert userdata.startswith("#cloud-config\n")
    assert len(userdata.splitlines()) == 2
    (command,) = yaml.safe_load(userdata)["runcmd"]
    assert command[:2] == ["agent", "enroll"]


def test_the_longest_names_stay_under_a_kilobyte_or_are_refused(workshop: Workshop) -> None:
    state = sign(workshop, look(workshop, manifest_of("g" * 63))).state
    long = Enrolment("s3://" + "b" * 63, "c" * 63, "us-gov-west-1", "https://" + "e" * 200)
    assert len(render_userdata(long, "g" * 63, state).encode()) < MAX_BYTES
    with pytest.raises(Invalid, match="less than 1024"):
        render_userdata(Enrolment("s3://" + "b" * 900, "c" * 63), "g" * 63, state)


def test_an_unpublished_group_is_named_with_those_that_are(workshop: Workshop) -> None:
    state = sign(workshop, look(workshop, manifest_of("workers"))).state
    with pytest.raises(Invalid, match=r"'wrokers' is not published; published are: workers"):
        render_userdata(ENROLMENT, "wrokers", state)


def test_an_older_state_than_the_pinned_one_is_what_the_floor_forbids(workshop: Workshop) -> None:
    first = sign(workshop, look(workshop, manifest_of("a"))).state
    second = sign(workshop, look(workshop, manifest_of("a"), manifest_of("b"))).state
    pins = [parse_user_data(render_userdata(ENROLMENT, "a", state).encode()) for state in (first, second)]
    assert [pin.targets_version for pin in pins if pin] == [2, 3]


@pytest.mark.skipif(shutil.which("cloud-init") is None, reason="cloud-init is not installed here")
def test_cloud_init_accepts_it(userdata: str, tmp_path: Path) -> None:
    file = tmp_path / "user-data"
    file.write_text(userdata)
    done = subprocess.run(["cloud-init", "schema", "--config-file", str(file)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
