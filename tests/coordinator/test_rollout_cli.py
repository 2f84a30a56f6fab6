"""The commands of a rollout as a person runs them: exit codes, tables, JSON."""

import json
from pathlib import Path

import pytest

from coordinator.cli import run
from tests.coordinator.fleet import FleetDouble
from tests.coordinator.test_validate import SPEC
from tests.coordinator.workshop import CLUSTER, PASSPHRASE, Workshop
from units.status import Condition

pytestmark = pytest.mark.slow  # whole commands

COMMANDS = (
    ["advance"],
    ["rollback"],
    ["halt"],
    ["unhalt"],
    ["rollout", "status"],
    ["rollout", "pause"],
    ["rollout", "resume"],
    ["rollout", "abort"],
)


@pytest.fixture
def fleet(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FleetDouble:
    """Eight workers and a rollout of version 2, in a store that the environment names."""
    (tmp_path / "stores").mkdir()
    (tmp_path / "stores" / CLUSTER).symlink_to(tmp_path / "store")
    monkeypatch.setenv("BOOTWRIGHT_STORE", f"file://{tmp_path / 'stores'}")
    monkeypatch.setenv("BOOTWRIGHT_CLUSTER", CLUSTER)
    monkeypatch.setenv("BOOTWRIGHT_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("BOOTWRIGHT_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("BOOTWRIGHT_OPERATOR", "ann")
    made = FleetDouble(workshop)
    made.publish()
    made.live(8)
    made.publish(workers="2")
    return made


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "coordinator " + " ".join(command) in text.replace("Usage: coordinator", "")


def test_the_status_names_wave_failing_node_and_gate(fleet: FleetDouble, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rollout", "status", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rollouts"]
    assert (row["group"], row["state"], row["wave"], row["members"], row["live_nodes"]) == (
        "workers",
        "running",
        1,
        1,
        8,
    )
    (canary,) = row["pending"]
    condition = Condition(code="manifest-undone", message="kubelet is ill", remedy="correct it", since="2026")
    fleet.say(canary, conditions=(condition,))
    fleet.mark("failed", canary)
    assert run(["advance"]) == 0
    assert "workers is halted: wave 1 of 3: 1 failed, 0 silent" in capsys.readouterr().err
    assert run(["rollout", "status"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "halted" in shown
    assert canary in shown
    assert "correct it" in shown
    assert run(["advance", "--watch", "--interval", "1s"]) == 1
    assert "held: workers" in capsys.readouterr().err
    assert run(["rollout", "resume"]) == 3
    assert run(["rollout", "resume", "--accept-failures"]) == 0
    assert run(["rollout", "abort", "--json"]) == 0
    (move,) = json.loads(capsys.readouterr().out)["moves"]
    assert (move["step"], move["changed"]) == ("withdraw", True)
    assert run(["rollout", "status"]) == 0
    assert "no rollout is under way" in capsys.readouterr().err


def test_pause_and_resume_by_name_and_a_name_that_is_none(
    fleet: FleetDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rollout", "pause", "workers", "--reason", "sale"]) == 0
    assert "sale" in capsys.readouterr().err
    assert fleet.standing()[2] == "paused"
    assert run(["rollout", "resume", "workers"]) == 0
    assert run(["rollout", "pause", "worker"]) == 2
    assert "workers" in capsys.readouterr().err


def test_a_halt_needs_no_key_and_is_lifted_again(
    fleet: FleetDouble, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BOOTWRIGHT_PASSPHRASE")
    assert run(["halt", "workers", "--reason", "errors"]) == 0
    stored = fleet.workshop.store.get("halt/workers")
    assert stored is not None
    assert {"who": "ann", "why": "errors"}.items() <= json.loads(stored.body).items()
    assert run(["rollout", "status", "--json"]) == 0
    assert "by ann" in json.loads(capsys.readouterr().out)["rollouts"][0]["gate"]
    assert run(["unhalt", "--all"]) == 0
    assert fleet.workshop.store.get("halt/workers") is None
    assert run(["unhalt", "workers"]) == 0
    assert run(["halt"]) == 2
    assert run(["halt", "nobody"]) == 2
    assert run(["halt", "workers", "--all"]) == 2


def test_a_halt_works_without_the_root_of_trust_where_a_spec_names_the_groups(
    fleet: FleetDouble, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOTWRIGHT_KEYS", str(tmp_path / "nobodys-keys"))
    assert run(["halt", "workers"]) == 3
    assert "trusted-root-missing" in capsys.readouterr().err
    spec = tmp_path / "cluster.yaml"
    spec.write_text(SPEC)
    assert run(["halt", "wrokers", "-f", str(spec)]) == 2
    assert run(["halt", "workers", "-f", str(spec)]) == 0
    assert "the groups are those of the spec" in capsys.readouterr().err
    assert fleet.workshop.store.get("halt/workers") is not None
    assert run(["unhalt", "--all", "-f", str(spec)]) == 0
    assert fleet.workshop.store.get("halt/workers") is None


def test_a_group_of_commands_without_one_shows_its_help_and_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rollout"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Usage: coordinator rollout")
    assert "error" not in said


def test_a_desk_that_cannot_check_signatures_does_not_call_groups_unpublished(
    fleet: FleetDouble, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOTWRIGHT_KEYS", str(tmp_path / "nobodys-keys"))
    assert run(["status"]) == 0
    shown = capsys.readouterr()
    assert "what is published is not shown" in shown.err
    assert "not published" not in shown.out


def test_advance_watches_until_everybody_has_it(fleet: FleetDouble, capsys: pytest.CaptureFixture[str]) -> None:
    for row in fleet.workshop.store.list("status/"):
        fleet.mark("ok", row.key.removeprefix("status/").removesuffix(".json"))
    rollout = fleet.release().rollout
    assert rollout is not None
    fleet.terms = type(fleet.terms)(bake_seconds=0)
    fleet.publish(workers="3")
    for row in fleet.workshop.store.list("status/"):
        fleet.mark("ok", row.key.removeprefix("status/").removesuffix(".json"))
    assert run(["advance", "--watch", "--interval", "1s"]) == 0
    said = capsys.readouterr().err
    assert said.index("opens wave 2 of 3") < said.index("opens wave 3 of 3") < said.index("is finished")
    assert fleet.standing() == ("3", "", "", -1)
    assert run(["advance", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"serial": None, "moves": []}


def test_a_rollback_is_shown_and_then_signed(fleet: FleetDouble, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rollback", "workers", "--yes"]) == 3  # a rollout is under way
    assert run(["rollout", "abort"]) == 0
    assert run(["rollback", "workers", "--yes"]) == 2  # there is no other stable manifest
    for _ in range(2):
        fleet.publish(workers="1")
    fleet.clock.advance(hours=3)
    fleet.publish(workers="2")
    capsys.readouterr()
    assert run(["rollback"]) == 0
    shown = capsys.readouterr()
    assert "rollout over 8 live nodes: 1, +3, +4 (waves)" in shown.out
    assert "nothing was published" in shown.err
    assert run(["rollback", "--yes", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["published"] is True
    assert fleet.standing() == ("2", "1", "running", 0)
