"""`python -m tests.lab` as a person uses it, with machine doubles."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    environment = {**os.environ, "BOOTWRIGHT_LAB": str(tmp_path_factory.mktemp("console")), "COLUMNS": "160"}

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "tests.lab", *words],
            cwd=CHECKOUT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    yield run
    run("down")


@pytest.fixture(scope="module")
def up(console: Run) -> Run:
    console("up", "--doubles", "--group", "control-plane-a", "--group", "nodes", "--instances", "2")
    return console


def rows(console: Run) -> list[dict[str, str]]:
    return list(json.loads(console("status", "--json").stdout)["instances"])


def wait_for_power(console: Run) -> None:
    for _ in range(60):
        if all(row["state"] in ("running", "terminated") for row in rows(console)):
            return
    pytest.fail("the machines never came up")


def test_help_teaches_every_command(console: Run) -> None:
    text = console("--help").stdout
    for command in ("up", "status", "exec", "ssh", "console", "power-cut", "reboot", "launch", "terminate", "attach"):
        assert f"\n  {command} " in text
        assert "Usage" in console(command, "--help").stdout
    assert "fault" in text
    assert "down" in text


def test_without_a_lab_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.lab", "status"],
        cwd=CHECKOUT,
        env={**os.environ, "BOOTWRIGHT_LAB": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "python -m tests.lab up" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_shows_names_addresses_and_states(up: Run) -> None:
    wait_for_power(up)
    text = up("status").stdout
    for row in rows(up):
        assert row["id"] in text
        assert row["private_ip"] in text
    assert [row["tags"]["Name"] for row in rows(up)].count("nodes") == 2


def test_names_that_are_not_unique_are_asked_about_and_numbers_tell_them_apart(up: Run) -> None:
    wait_for_power(up)
    assert "2 instances are called 'nodes'" in up("exec", "nodes", "--", "true", code=1).stderr
    assert "['uname', '-a']" in up("exec", "nodes/2", "--", "uname", "-a").stdout
    assert "no instance is called 'nodes/3'" in up("exec", "nodes/3", "--", "true", code=1).stderr


def test_console_prints_what_the_machine_printed(up: Run) -> None:
    wait_for_power(up)
    assert "this is no kernel" in up("console", "nodes/1").stdout


def test_launch_attach_cut_and_terminate(up: Run) -> None:
    wait_for_power(up)
    instance = up("launch", "spare", "--zone", "eu-west-1b").stdout.strip()
    wait_for_power(up)
    volume = up("attach", instance).stdout.split()[0]
    assert volume.startswith("vol-")
    up("power-cut", instance, "--stay-off")
    assert next(row for row in rows(up) if row["id"] == instance)["powered"] is False
    up("power-on", "spare")
    up("reboot", "spare")
    up("terminate", "spare")
    assert next(row for row in rows(up) if row["id"] == instance)["state"] in ("shutting-down", "terminated")


def test_faults_are_listed_and_cleared(up: Run) -> None:
    up("fault", "api", "AccessDenied", "--role", "node", "--prefix", "secrets/")
    up("fault", "imds", "nodes/1", "--late", "2")
    text = up("status").stdout
    assert "code=AccessDenied, role=node, prefix=secrets/" in text
    assert "IMDS late=2.0" in text
    up("fault", "clear")
    assert "fault" not in up("status").stdout
    assert "absent is 'gone'; allowed: hang, reset" in up("fault", "imds", "nodes/1", "--absent", "gone", code=1).stderr


def test_env_points_aws_tools_at_the_lab(up: Run) -> None:
    lines = dict(line.removeprefix("export ").split("=", 1) for line in up("env").stdout.splitlines())
    assert lines["AWS_ENDPOINT_URL"].startswith("'http://127.0.0.1:")
    assert json.loads(up("outputs").stdout)["network_cidr"] == "127.99.0.0/20"
