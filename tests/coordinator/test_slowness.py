"""The fleet's slowest phases: right to 5 %, in memory that does not grow with it, whatever nodes write."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.cli import run
from coordinator.directory_store import DirectoryStore
from coordinator.slowness import LONGEST, MOST_PHASES, OTHERS, Slowness, read_slowness
from coordinator.store import Store
from units.status import BootTimeline, NodeStatus, Span, encode_status


def write(store: Store, instance_id: str, group: str = "workers", **seconds: float) -> None:
    spans = tuple(Span(kind="agent", name=name, begins=1.0, ends=1.0 + took) for name, took in seconds.items())
    timeline = BootTimeline(kernel_started="2026-06-01T00:00:00Z", spans=spans) if seconds else None
    store.put(
        f"status/{instance_id}.json",
        encode_status(NodeStatus(instance_id=instance_id, group=group, timeline=timeline)),
    )


@given(st.lists(st.floats(0.0, LONGEST), min_size=1, max_size=300), st.sampled_from([50, 95]))
def test_a_percentile_is_right_to_five_percent_and_the_longest_exactly(took: list[float], percent: int) -> None:
    slowness = Slowness()
    for number, seconds in enumerate(took):
        slowness.add(f"i-{number}", [("phase", seconds)])
    (phase,) = slowness.slowest(5)
    exact = sorted(took)[math.ceil(len(took) * percent / 100) - 1]
    assert exact <= phase.percentile(percent) + 1e-9
    assert phase.percentile(percent) <= max(exact * 1.0501, 0.001)
    assert phase.longest == max(took)
    assert took[int(phase.slowest.removeprefix("i-"))] == max(took)


def test_the_slowest_comes_first_with_the_node_that_was_slowest(store: Store) -> None:
    for number in range(20):
        write(store, f"i-{number:02}", converging=1.0, verifying=0.1)
    write(store, "i-99", converging=40.0, verifying=0.1)
    first, second = read_slowness(store).slowest(10)
    assert (first.name, first.nodes, first.longest, first.slowest) == ("converging", 21, 40.0, "i-99")
    assert first.percentile(50) == pytest.approx(1.0, rel=0.05)
    assert second.name == "verifying"


def test_only_the_groups_that_are_asked_for_count(store: Store) -> None:
    write(store, "i-1", group="workers", converging=1.0)
    write(store, "i-2", group="control-plane", converging=9.0)
    (phase,) = read_slowness(store, ["workers"]).slowest(10)
    assert (phase.nodes, phase.longest) == (1, 1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, -5.0, LONGEST * 2])
def test_what_is_no_time_of_a_boot_is_left_out(bad: float) -> None:
    slowness = Slowness()
    slowness.add("i-1", [("phase", bad), ("phase", 2.0)])
    (phase,) = slowness.slowest(10)
    assert (phase.nodes, phase.longest) == (1, 2.0)


def test_memory_is_bounded_however_many_names_and_times_nodes_make_up(store: Store) -> None:
    slowness = Slowness()
    for number in range(5 * MOST_PHASES):
        slowness.add(f"i-{number}", [(f"made up {number}", 1.0), ("real", float(number))])
    phases = slowness.slowest(10 * MOST_PHASES)
    assert len(phases) == MOST_PHASES + 1
    assert OTHERS in [phase.name for phase in phases]
    assert all(len(phase._buckets) < 400 for phase in phases)
    write(store, "i-chatty", **{f"made up {number}": 1.0 for number in range(1000)})
    assert len(read_slowness(store).slowest(10_000)) < 100


def test_the_table_names_phase_and_node_and_json_has_every_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = DirectoryStore(tmp_path / "prod")
    write(store, "i-1", converging=4.0)
    write(store, "i-2")
    store.put("status/i-3.json", b"not a status")
    where = ["--store", f"file://{tmp_path}", "--cluster", "prod"]
    assert run(["status", "--slow", *where]) == 0
    shown = capsys.readouterr()
    assert [line.split() for line in shown.out.splitlines() if "converging" in line] == [
        ["converging", "1", "4.00s", "4.00s", "4.00s", "i-1"]
    ]
    assert "2 of 3 nodes have not told" in shown.err
    assert run(["status", "--slow", "--json", *where]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["without_timeline"] == 2
    assert document["phases"] == [
        {"phase": "converging", "nodes": 1, "p50": 4.0, "p95": 4.0, "max": 4.0, "slowest": "i-1"}
    ]


def test_without_any_timeline_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(DirectoryStore(tmp_path / "prod"), "i-1")
    assert run(["status", "--slow", "--store", f"file://{tmp_path}", "--cluster", "prod"]) == 0
    assert "no node has told" in capsys.readouterr().err
