"""The fleet's own words: bounded, tolerant, and never allowed to drive a terminal."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from coordinator.commands.status import _age, _row
from coordinator.console import printable
from coordinator.directory_store import DirectoryStore
from coordinator.inventory import row_of
from coordinator.status import read_fleet
from coordinator.store import Store
from tests.coordinator.workshop import ClockDouble
from units.status import Condition, NodeStatus, encode_status


def write(store: Store, instance_id: str, **fields: object) -> None:
    store.put(f"status/{instance_id}.json", encode_status(NodeStatus(instance_id=instance_id, **fields)))


def test_every_node_is_read_and_ordered_by_group(store: Store) -> None:
    write(store, "i-2", group="workers", stage="ready")
    write(store, "i-1", group="control-plane", stage="booting")
    store.put("status/readme.txt", b"not a status")
    fleet = read_fleet(store)
    assert [(node.instance_id, node.status.group) for node in fleet.nodes if node.status] == [
        ("i-1", "control-plane"),
        ("i-2", "workers"),
    ]
    assert not fleet.truncated


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "not a status object"),
        (b"{", "not a status object"),
        (b"[]", "not a status object"),
        (b'{"instance_id": "i-1", "stage": "dancing"}', "not a status object"),
        (b"x" * 300_000, "300000 bytes"),
    ],
)
def test_an_object_that_cannot_be_read_is_shown_and_hides_no_other(tmp_path: Path, body: bytes, problem: str) -> None:
    store = DirectoryStore(tmp_path)
    store.put("status/i-1.json", body)
    write(store, "i-2", group="workers")
    good, bad = read_fleet(store).nodes
    assert good.instance_id == "i-2"
    assert bad.status is None
    assert problem in bad.problem


def test_a_node_cannot_speak_in_another_ones_name(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("status/i-1.json", encode_status(NodeStatus(instance_id="i-2", group="workers")))
    (node,) = read_fleet(store).nodes
    assert node.status is None
    assert "claims to be i-2" in node.problem


def test_a_newer_agents_unknown_fields_are_left_aside(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("status/i-1.json", json.dumps({"instance_id": "i-1", "mood": "fine"}).encode())
    (node,) = read_fleet(store).nodes
    assert node.status is not None


def test_the_reason_and_the_remedy_stand_in_the_row(tmp_path: Path, clock: ClockDouble) -> None:
    store = DirectoryStore(tmp_path)
    condition = Condition(code="etcd-volume", message="in zone b", remedy="move it", since="2026-01-01T00:00:00Z")
    write(store, "i-1", group="cp", stage="retrying", serial=4, waiting_for="volume", conditions=(condition,))
    (node,) = read_fleet(store).nodes
    row = _row(row_of(node, clock()), clock(), {})
    assert row[:5] == ["cp", "i-1", "", "retrying", "4"]
    assert row[-1] == "waiting for volume\netcd-volume: in zone b\nwhat to do: move it"


def test_terminal_escapes_in_a_status_are_shown_not_obeyed() -> None:
    assert printable("ready\x1b[2J\x07") == "ready\\x1b[2J\\x07"
    assert printable("naïve ✓\n\tlines") == "naïve ✓\n\tlines"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (200_000, "2d"), (-5, "0s")]
)
def test_an_age_is_short(clock: ClockDouble, seconds: int, shown: str) -> None:
    assert _age(clock(), clock() - timedelta(seconds=seconds)) == shown
