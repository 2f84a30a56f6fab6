"""Userdata: what the agent reads is what the coordinator wrote, and it pins the state it was made from."""

import ast
import email
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import yaml

from agent.user_data import parse_user_data
from coordinator.documents import AgentBundle
from coordinator.userdata import MAX_BYTES, MAX_LINE, Enrolment, Format, render_userdata
from tests.coordinator.test_publish import look, manifest_of, sign
from tests.coordinator.workshop import CLUSTER, Workshop
from units.errors import Invalid

GOLDEN = Path(__file__).parent / "golden-userdata"
REWRITE = os.environ.get("BOOTWRIGHT_GOLDEN") == "1"  # now: tests see none of the caller's variables
FORMATS: tuple[Format, ...] = get_args(Format)
BUNDLES = (
    AgentBundle(python="3.12", machine="aarch64", version="0.1.0", sha256="12" * 32, size=36_000_000),
    AgentBundle(python="3.13", machine="x86_64", version="0.1.0", sha256="13" * 32, size=37_000_000),
)
Render = Callable[..., str]
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
    assert len(render_userdata(long, "g" * 63, state).encode()) < MAX_LINE
    many = [BUNDLES[0].model_copy(update={"python": f"3.{minor}"}) for minor in range(9, 20)]
    for form in FORMATS:
        assert len(render_userdata(long, "g" * 63, state, form=form, bundles=many).encode()) <= MAX_BYTES * 3 // 4
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


@pytest.fixture
def render(workshop: Workshop) -> Render:
    state = sign(workshop, look(workshop, manifest_of("workers"))).state
    return lambda **how: render_userdata(ENROLMENT, "workers", state, **how)


@pytest.mark.parametrize("bundles", [(), BUNDLES])
@pytest.mark.parametrize("form", FORMATS)
def test_an_image_of_ours_finds_the_same_enrolment_in_every_format(
    render: Render, form: Format, bundles: tuple[AgentBundle, ...]
) -> None:
    assert parse_user_data(render(form=form, bundles=bundles).encode()) == parse_user_data(render().encode())


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("bundles", [(), BUNDLES])
def test_each_format_is_what_the_golden_file_shows(
    render: Render, form: Format, bundles: tuple[AgentBundle, ...]
) -> None:
    text = _without_what_differs(render(form=form, bundles=bundles))
    golden = GOLDEN / f"{form}{'-stock' if bundles else ''}.txt"
    if REWRITE:
        golden.write_text(text)
    assert text == golden.read_text(), f"{golden}: `make golden` rewrites it, if that is what you want"


def test_the_commands_install_before_they_enrol_and_start_last(render: Render) -> None:
    commands = yaml.safe_load(render(bundles=BUNDLES))["runcmd"]
    assert [command[0] for command in commands] == ["python3", "agent", "systemctl"]
    assert commands[-1][1:3] == ["start", "--no-block"], "cloud-init must not wait for the node"
    program, asked = commands[0][2:]
    ast.parse(program, feature_version=(3, 9))
    assert json.loads(asked) == {
        "bucket": "clusters",
        "prefix": f"prod/{CLUSTER}/",
        "region": "eu-west-1",
        "endpoint": "http://192.0.2.1:5000",
        "bundles": {"3.12-aarch64": ["12" * 32, 36_000_000], "3.13-x86_64": ["13" * 32, 37_000_000]},
    }


def test_the_script_runs_the_same_commands_and_stops_at_the_first_that_fails(render: Render) -> None:
    script = render(form="shell", bundles=BUNDLES)
    assert script.startswith("#!/bin/sh\nset -eu\n")
    checked = subprocess.run(["sh", "-n"], input=script, text=True, check=False, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")
    program = yaml.safe_load(render(bundles=BUNDLES))["runcmd"][0][2]
    assert program in script
    lines = script[script.index("\nEND_OF_PROGRAM\n") :].splitlines()
    assert [line.split()[0] for line in lines[3:]] == ["agent", "systemctl"]


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_in_every_format_the_program_is_an_argument_word_for_word(render: Render, shell: str) -> None:
    """It reads itself from there, to keep itself for the next boot."""
    program, asked = yaml.safe_load(render(bundles=BUNDLES))["runcmd"][0][2:]
    line = next(line for line in render(form="shell", bundles=BUNDLES).splitlines() if line.startswith(")"))
    script = render(form="shell", bundles=BUNDLES).split(line)[0] + line
    shown = script.replace(
        "python3 -Ic", f"{sys.executable} -Ic 'import sys, json; print(json.dumps(sys.argv[1:]))'", 1
    )
    done = subprocess.run([shell], input=shown, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [program.rstrip("\n"), asked]


def test_the_multipart_is_one_that_any_reader_of_mail_understands(render: Render) -> None:
    message = email.message_from_string(render(form="mime", bundles=BUNDLES))
    (part,) = message.get_payload()
    assert part.get_content_type() == "text/cloud-config"
    assert part["Merge-Type"] == "list(append)+dict(recurse_list)+str()"
    assert part.get_payload(decode=True).decode().rstrip() == render(bundles=BUNDLES).rstrip()
    assert message.defects == part.defects == []


def test_a_store_that_machines_cannot_reach_is_refused_where_they_would_fetch_from_it(workshop: Workshop) -> None:
    state = sign(workshop, look(workshop, manifest_of("workers"))).state
    with pytest.raises(Invalid, match="cannot fetch the agent from file:///srv"):
        render_userdata(Enrolment("file:///srv", CLUSTER), "workers", state, bundles=BUNDLES)


@pytest.mark.skipif(shutil.which("cloud-init") is None, reason="cloud-init is not installed here")
@pytest.mark.parametrize("bundles", [(), BUNDLES])
def test_cloud_init_accepts_it(render: Render, bundles: tuple[AgentBundle, ...], tmp_path: Path) -> None:
    file = tmp_path / "user-data"
    file.write_text(render(bundles=bundles))
    done = subprocess.run(["cloud-init", "schema", "--config-file", str(file)], capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _without_what_differs(text: str) -> str:
    """The root's hash is of new keys in every run, and so is the boundary, which is made of the content."""
    text = re.sub(r"bootwright-[0-9a-f]{24}", "bootwright-BOUNDARY", text)
    return re.sub(r'"root_sha256":"[0-9a-f]{64}"', '"root_sha256":"ROOT"', text)
