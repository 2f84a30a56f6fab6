"""The fleet's own words: bounded, tolerant, and never allowed to drive a terminal."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from coordinator.cli import run
from coordinator.commands.status import _age, _row
from coordinator.console import printable
from coordinator.directory_store import DirectoryStore
from coordinator.fleet_view import is_fine, sums
from coordinator.inventory import Inventory, row_of
from coordinator.state import PublishedGroup
from coordinator.status import AHEAD, each_status, read_fleet, status_objects
from coordinator.store import Store
from coordinator.tuf_api import TargetFile
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


def test_a_large_fleet_is_read_in_parallel_and_few_of_its_words_are_in_memory_at_once(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for number in range(3 * AHEAD):
        write(store, f"i-{number:04}")
    asked: list[str] = []

    class CountingStoreDouble:
        def get(self, key: str, **limits: int) -> object:
            asked.append(key)
            return store.get(key, **limits)

    found = 0
    for instance_id in each_status(CountingStoreDouble(), status_objects(store), lambda node: node.instance_id):  # type: ignore[arg-type]
        assert instance_id == f"i-{found:04}"
        found += 1
        assert len(asked) <= found + AHEAD
    assert found == 3 * AHEAD


def groups_of(**digests: str) -> dict[str, PublishedGroup]:
    target = TargetFile(0, {"sha256": "0"}, "groups/workers.json")
    return {"workers": PublishedGroup("workers", 7, digests["stable"], "2026", target, digests.get("candidate", ""))}


def test_a_group_is_summed_up_by_what_its_nodes_run(tmp_path: Path, clock: ClockDouble) -> None:
    store = DirectoryStore(tmp_path)
    write(store, "i-1", group="workers", stage="ready", serial=7, manifest="a")
    write(store, "i-2", group="workers", stage="ready", serial=7, manifest="b", drift=("file:/etc/x",))
    write(store, "i-3", group="workers", stage="failed", serial=6, manifest="c")
    write(store, "i-4", group="lost", stage="ready")
    rows = Inventory(store, clock).rows()
    published = groups_of(stable="a", candidate="b")
    workers, lost = sums(rows, published, clock())
    assert (workers.nodes, workers.ready, workers.drifted, workers.rollout) == (3, 2, 1, True)
    assert (workers.stable, workers.candidate, workers.other, workers.serials) == (1, 1, 1, {7: 2, 6: 1})
    assert (lost.group, lost.serial, lost.nodes) == ("lost", None, 1)
    assert [is_fine(row, published, clock()) for row in rows] == [True, False, False, True]
    assert _row(rows[1], clock(), published)[5] == "candidate"
    assert _row(rows[1], clock(), published)[-1] == "drifted: file:/etc/x"
    clock.advance(hours=2)
    assert sums(rows, published, clock())[0].silent == 3


def test_a_small_fleet_is_listed_whole_and_a_large_one_only_where_something_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = DirectoryStore(tmp_path / "prod")
    for number in range(70):
        write(store, f"i-{number:03}", group="workers", stage="failed" if number == 33 else "ready")
    where = ["--store", f"file://{tmp_path}", "--cluster", "prod"]
    assert run(["status", *where]) == 0
    shown = capsys.readouterr()
    assert "i-033" in shown.out
    assert "i-034" not in shown.out
    assert "69 of 70 nodes are well" in shown.err
    assert run(["status", *where, "--all"]) == 0
    assert "i-034" in capsys.readouterr().out
    assert run(["status", *where, "--json", "--group", "workers"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (len(document["nodes"]), document["groups"][0]["nodes"]) == (70, 70)
