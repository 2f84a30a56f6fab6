"""`trust status` and `trust rotate` as a person meets them, over S3."""

import json
from pathlib import Path

import pytest

from coordinator.aws.session import Aws
from coordinator.cli import run
from tests.coordinator.test_cli import desk, founded
from tests.coordinator.workshop import Workshop
from units.status import NodeStatus, encode_status

__all__ = ["desk", "founded"]  # fixtures

pytestmark = pytest.mark.slow  # whole commands over moto

COMMANDS = [
    ["trust"],
    ["trust", "status"],
    ["trust", "rotate"],
    ["trust", "rotate", "ca"],
    ["trust", "rotate", "service-account"],
    ["trust", "rotate", "root"],
    ["trust", "rotate", "targets"],
    ["trust", "rotate", "timestamp"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_and_the_help_has_an_example(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--help"]) == 0
    text = capsys.readouterr().out
    if command[-1] not in ("trust", "rotate"):
        assert "coordinator " + " ".join(command) in text.replace("Usage: coordinator", "")


def say(aws: Aws, bucket: str, instance: str, group: str, serial: int) -> None:
    status = NodeStatus(
        instance_id=instance, group=group, stage="ready", serial=serial, converged="2026-01-01T00:00:00Z"
    )
    key = f"clusters/prod.example.com/status/{instance}.json"
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=encode_status(status))


def overview(capsys: pytest.CaptureFixture[str]) -> dict:
    capsys.readouterr()
    assert run(["trust", "status", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_whole_rotation_from_the_command_line(desk: Path, aws: Aws, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--create-bucket", "--local-key"]) == 0
    assert run(["assets", "add", "kubelet"]) == 0
    assert run(["publish", "--yes"]) == 0
    bucket = (desk / "cluster.yaml").read_text().split("s3://")[1].split("/")[0]
    rotate = ["trust", "rotate", "ca", "kubernetes", "--settle", "0s", "--at-once", "--phase"]

    capsys.readouterr()
    assert run([*rotate, "add"]) == 0
    shown = capsys.readouterr()
    assert "file:/etc/kubernetes/pki/ca/kubernetes.crt" in shown.out
    assert "nothing was published" in shown.err
    assert run([*rotate, "sign", "--yes"]) == 3
    assert "--phase add" in capsys.readouterr().err
    assert run([*rotate, "add", "--yes"]) == 0
    assert "restart pods" in capsys.readouterr().err

    for phase in ("sign", "retire"):
        serial = overview(capsys)["authorities"][0]["serial"]
        say(aws, bucket, "i-0c", "control-plane-a", serial)
        say(aws, bucket, "i-0w", "workers", serial - 1)
        assert run([*rotate, phase, "--yes"]) == 3
        text = capsys.readouterr().err
        assert "i-0w (workers): has serial" in text
        assert "--ignore-node" in text
        (waiting,) = overview(capsys)["authorities"][0]["unconfirmed"]
        assert waiting["instance_id"] == "i-0w"
        say(aws, bucket, "i-0w", "workers", serial)
        assert run([*rotate, phase, "--yes"]) == 0
        assert run([*rotate, phase, "--yes"]) == 0  # again: it is published already
    first = overview(capsys)["authorities"][0]
    assert (first["phase"], len(first["keys"]), first["keys"][0]["signs"]) == ("retire", 1, True)
    assert run(["publish", "--detailed-exitcode"]) == 0
    capsys.readouterr()
    assert run(["kubeconfig", "--read-only"]) == 0  # signed by the new authority's key
    assert "client-certificate-data" in capsys.readouterr().out
    assert run(["history", "--json"]) == 0
    assert [entry["what"] for entry in json.loads(capsys.readouterr().out)][:3] == [
        "rotate kubernetes: retire",
        "rotate kubernetes: sign",
        "rotate kubernetes: add",
    ]


def test_signing_keys_from_the_command_line(founded: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trust", "rotate", "targets"]) == 0
    shown = capsys.readouterr()
    assert "file:targets-v2.pem" in shown.out
    assert "nothing was made" in shown.err
    assert run(["trust", "rotate", "targets", "--yes"]) == 0
    assert "coordinator userdata GROUP" in capsys.readouterr().err
    roles = {role["role"]: role for role in overview(capsys)["roles"]}
    assert roles["root"]["version"] == 2
    assert roles["targets"]["keys"][0] | {"keyid": ""} == {"keyid": "", "uri": "file:targets-v2.pem", "available": True}
    (founded.directory.path.parent / "keys" / "root-1.pem").unlink()
    roles = {role["role"]: role for role in overview(capsys)["roles"]}
    assert not roles["root"]["keys"][0]["available"]
    assert run(["trust", "rotate", "timestamp", "--yes"]) == 3
    assert "signing-key-missing" in capsys.readouterr().err


def test_the_table_is_for_people(founded: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trust", "status"]) == 0
    text = capsys.readouterr().out
    for word in ("1 of 1", "file:root-1.pem", "kubernetes-ca", "service-account", "signs"):
        assert word in text


@pytest.mark.parametrize(
    "wrong",
    [
        ["ca", "etcd", "--phase", "add"],
        ["ca", "kubernetes", "--phase", "begin"],
        ["ca", "kubernetes", "--phase", "add", "--settle", "soon"],
        ["root", "--renew", "--replace", "root-1.pem"],
        ["targets", "--key", "file:x.pem"],
    ],
    ids=" ".join,
)
def test_bad_input_is_explained_and_writes_nothing(
    founded: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    def files() -> set[str]:
        return {str(path) for folder in ("stores", "keys") for path in (tmp_path / folder).rglob("*") if path.is_file()}

    before = files()
    assert run(["trust", "rotate", *wrong, "--yes"]) == 2
    assert files() == before
    assert "what to do" in capsys.readouterr().err
