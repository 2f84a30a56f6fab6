"""`coordinator iam` as a person and a pipe meet it: JSON and nothing else on standard output."""

import json
from pathlib import Path

import pytest

from coordinator.aws.kms import SCHEME
from coordinator.cli import run
from coordinator.directory_store import DirectoryStore
from coordinator.iam_keys import Chosen, keys_of
from tests.coordinator.iam_golden import EXAMPLES, ONLINE, SECRETS, TARGETS, example
from tests.coordinator.workshop import ClockDouble, Workshop

MINIMAL = str(EXAMPLES / "minimal" / "cluster.yaml")
HA = str(EXAMPLES / "ha-private" / "cluster.yaml")
Said = pytest.CaptureFixture[str]


def test_a_policy_is_pure_json_and_warnings_go_elsewhere(capsys: Said) -> None:
    assert run(["iam", "node", "-f", MINIMAL]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["Version"] == "2012-10-17"
    assert "print it again after `coordinator init`" in " ".join(said.err.split())


def test_trust_is_ec2s_alone(capsys: Said) -> None:
    assert run(["iam", "control-plane", "--trust", "-f", MINIMAL]) == 0
    statement = json.loads(capsys.readouterr().out)["Statement"][0]
    assert statement["Principal"] == {"Service": "ec2.amazonaws.com"}


def test_all_is_every_policy_by_the_name_of_who_holds_it(capsys: Said) -> None:
    assert run(["iam", "--all", "-f", HA]) == 0
    assert list(json.loads(capsys.readouterr().out)) == [
        "nodes.prod.example.com",
        "control-plane.prod.example.com",
        "publisher",
        "refresher",
        "on-call",
        "administrator",
        "restorer",
    ]


def test_without_a_role_the_roles_are_explained(capsys: Said) -> None:
    assert run(["iam", "-f", MINIMAL]) == 0
    said = capsys.readouterr().out
    for word in ("nodes.minimal.example.com", "control-plane-a", "publisher", "refresher", "coordinator kubeconfig"):
        assert word in said


def test_endpoints_make_the_policy_tighter(capsys: Said) -> None:
    assert run(["iam", "node", "--through-endpoints", "-f", MINIMAL]) == 0
    assert "aws:VpcSourceIp" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["worker"], "iam-role-unknown"),
        (["node", "--profile", "other"], "iam-profile-unknown"),
        (["publisher", "--trust"], "iam-trust-of-people"),
        (["--trust"], "iam-role-needed"),
        (["node", "--all"], "iam-role-and-all"),
        (["node", "--store", "file:///tmp/clusters"], "iam-needs-s3"),
    ],
)
def test_what_makes_no_sense_is_exit_code_2_and_prints_no_policy(arguments: list[str], code: str, capsys: Said) -> None:
    assert run(["iam", *arguments, "-f", MINIMAL]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"({code})" in said.err


def test_without_a_spec_there_is_no_policy(capsys: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["iam", "node", "--store", "s3://b", "--cluster", "a.example.com"]) == 2
    assert "(iam-needs-spec)" in capsys.readouterr().err


def test_the_store_on_the_command_line_is_the_one_that_is_opened(capsys: Said) -> None:
    assert run(["iam", "node", "--store", "s3://elsewhere/prefix", "-f", MINIMAL]) == 0
    said = capsys.readouterr().out
    assert "arn:aws:s3:::elsewhere/prefix/minimal.example.com/assets/*" in said
    assert "example-clusters" not in said


def test_help_teaches_how_to_make_a_role(capsys: Said) -> None:
    assert run(["iam", "--help"]) == 0
    said = capsys.readouterr().out
    assert "aws iam put-role-policy" in said
    assert "--through-endpoints" in said


def test_keys_come_from_the_key_directory_and_before_init_from_what_is_chosen(tmp_path: Path) -> None:
    spec, _ = example("ha-private")
    workshop = Workshop(tmp_path / "keys", DirectoryStore(tmp_path / "store"), ClockDouble())
    before = keys_of(spec, workshop.directory, Chosen(targets=TARGETS, online=f"{SCHEME}{ONLINE}"))
    assert (before.uid, before.secrets, before.targets, before.online) == (None, SECRETS, (TARGETS,), (ONLINE,))
    founded = workshop.found()
    after = keys_of(spec, workshop.directory, Chosen())
    assert (after.uid, after.secrets, after.targets, after.online) == (founded.document.uid, None, (), ())
