"""The command line of a node: it teaches, it fails clearly, and it starts fast because it loads little."""

import argparse
import json
import subprocess
import sys

import pytest

from agent.cli import COMMANDS, _run, main
from agent.defects import told_as_defect
from tests.agent.boot_double import NodeDouble

HEAVY = ("boto3", "botocore", "tuf", "securesystemslib", "etcd3", "grpc", "rich", "cryptography", "jinja2", "requests")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_help_names_the_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"] if command else ["--help"])
    assert ended.value.code == 0
    assert "3 refused for safety" in capsys.readouterr().out


def test_a_misspelt_command_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["statsu"])
    assert ended.value.code == 2
    assert "status" in capsys.readouterr().err


def test_an_enrolment_with_wrong_fields_names_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enroll", json.dumps({"store": "s4://x", "cluster": "c"})]) == 2
    said = capsys.readouterr().err
    for field in ("store", "group", "root_version", "root_sha256", "targets_version"):
        assert f"{field}:" in said


class ModuleDouble:
    """A command that raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def run(self, _parsed: argparse.Namespace) -> int:
        raise self._error


@pytest.mark.parametrize(
    ("error", "user", "code", "said"),
    [
        (
            PermissionError(13, "Permission denied", "/run/bootwright/lock"),
            1000,
            2,
            "root-needed: /run/bootwright/lock is",
        ),
        (
            PermissionError(13, "Permission denied", "/run/bootwright/lock"),
            0,
            1,
            "defect: an unforeseen error, Permission",
        ),
        (KeyError("x"), 0, 1, "defect: an unforeseen error, KeyError: 'x'"),
        (KeyboardInterrupt(), 0, 130, "interrupted"),
    ],
    ids=["no-root", "not-even-root", "defect", "ctrl-c"],
)
def test_whatever_goes_wrong_ends_in_words_and_a_code(
    error: Exception,
    user: int,
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.delenv("BOOTWRIGHT_DEBUG", raising=False)
    assert _run(ModuleDouble(error), argparse.Namespace(command="diff")) == code
    told = capsys.readouterr().err
    assert said in told
    assert ("remedy: sudo agent diff" in told) == (user == 1000)


def test_a_defect_is_in_the_status_too() -> None:
    node = NodeDouble()
    with pytest.raises(KeyError), told_as_defect(node.reporter):
        raise KeyError("x")
    (condition,) = node.reporter.status.conditions
    assert (node.reporter.status.stage, condition.code) == ("failed", "defect")


def test_help_loads_no_heavy_module() -> None:
    script = (
        "import sys\nfrom agent.cli import main\n"
        "try:\n main(['--help'])\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.strip() == "[]"
