"""`coordinator validate` as a person and a pipeline run it."""

import json
from pathlib import Path

import pytest

from coordinator.cli import run
from tests.coordinator.fleet import FleetDouble
from tests.coordinator.test_validate import DIGESTS, SPEC
from tests.coordinator.workshop import CLUSTER, PASSPHRASE, Workshop

pytestmark = pytest.mark.slow  # whole commands


@pytest.fixture
def fleet(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FleetDouble:
    """A control-plane node and two workers, all well, in a store that is a directory."""
    (tmp_path / "stores").mkdir()
    (tmp_path / "stores" / CLUSTER).symlink_to(tmp_path / "store")
    (tmp_path / "cluster.yaml").write_text(SPEC)
    monkeypatch.setenv("BOOTWRIGHT_SPEC", str(tmp_path / "cluster.yaml"))
    monkeypatch.setenv("BOOTWRIGHT_STORE", f"file://{tmp_path / 'stores'}")
    monkeypatch.setenv("BOOTWRIGHT_KEYS", str(tmp_path / "keys"))
    monkeypatch.setenv("BOOTWRIGHT_PASSPHRASE", PASSPHRASE)
    made = FleetDouble(workshop, {"cp": "control-plane", "workers": "node"})
    made.publish()
    for instance_id, group in (("i-c", "cp"), ("i-a1", "workers"), ("i-a2", "workers")):
        made.say(instance_id, group, serial=1, role=made.groups[group], manifest=DIGESTS[group])
    return made


def test_a_ready_cluster_ends_with_0_and_two_tables(fleet: FleetDouble, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate"]) == 0
    shown = capsys.readouterr()
    assert "INSTANCE GROUPS" in shown.out
    assert "MACHINETYPE" in shown.out
    assert "m7g.xlarge" in shown.out
    assert "NODE STATUS" in shown.out
    assert "VALIDATION ERRORS" not in shown.out
    assert f"Your cluster {CLUSTER} is ready" in shown.err


def test_what_is_wrong_stands_in_a_third_table_and_ends_with_1(
    fleet: FleetDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.say("i-a1", serial=1, stage="retrying", waiting_for="S3\x1b[2J", role="node")
    assert run(["validate"]) == 1
    shown = capsys.readouterr()
    assert "VALIDATION ERRORS" in shown.out
    assert "is not ready: retrying: waiting for S3" in " ".join(shown.out.split())
    assert "\x1b[2J" not in shown.out
    assert "failed: 1 errors" in shown.err
    assert run(["validate", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["ready"], len(document["nodes"]), len(document["failures"])) == (False, 3, 1)


def test_waiting_ends_when_the_time_is_up_and_says_what_it_waited_for(
    fleet: FleetDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet.say("i-a1", stage="booting", role="node")
    assert run(["validate", "--wait", "3s", "--interval", "1s"]) == 1
    assert "not yet: 1 errors; the first: node" in capsys.readouterr().err


def test_without_a_spec_it_says_that_it_needs_one(fleet: FleetDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOOTWRIGHT_SPEC")
    assert run(["validate", "--cluster", CLUSTER]) == 2
    assert run(["validate", "--help"]) == 0
