"""The command line of a node: it teaches, it fails clearly, and it starts fast because it loads little."""

import json
import subprocess
import sys

import pytest

from agent.cli import COMMANDS, main

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


def test_help_loads_no_heavy_module() -> None:
    script = (
        "import sys\nfrom agent.cli import main\n"
        "try:\n main(['--help'])\nexcept SystemExit: pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr.strip() == "[]"
