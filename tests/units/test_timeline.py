"""A boot on one axis: every stamp where it belongs, bounded, and the same whoever looks when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from units.report import Outcome, Report
from units.status import MAX_BYTES, NodeStatus, Phase, Span, decode_status, encode_status
from units.timeline import (
    MOST_SPANS,
    MOST_STEPS,
    Run,
    Stamps,
    UnitStamps,
    add_run,
    axis_of,
    bar,
    measured,
    with_later_stamps,
)

KERNEL = datetime(2026, 6, 1, 12, 0, 0, 250_000, tzinfo=UTC)
STAMPS = Stamps(
    kernel_started=KERNEL,
    firmware=2.5,
    loader=1.5,
    initrd=1.0,
    userspace=2.0,
    units=(
        UnitStamps("network-online.target", 3.0, 3.0),
        UnitStamps("containerd.service", 5.0, 5.5),
        UnitStamps("bootwright-boot.service", 3.1, None),
        UnitStamps("cloud-final.service", None, None),
    ),
    agent_started=3.2,
)
PHASES = (Phase(name="asking", seconds=0.5, begins=3.5), Phase(name="converging", seconds=3.0, begins=4.0))
REPORT = Report((Outcome("file:/a", "changed", 0.001, begun=4.1), Outcome("unit:kubelet", "changed", 1.5, begun=5.0)))
RUN = Run(PHASES, REPORT, at=7.25, ready=True, cpu_seconds=0.6)


def spans(*parts: Span) -> dict[str, tuple[float, float]]:
    return {span.name: (span.begins, span.ends) for span in parts}


def test_every_stamp_is_in_seconds_after_the_kernel_and_what_came_before_it_is_negative() -> None:
    made = add_run(None, STAMPS, replace(RUN, launched=KERNEL - timedelta(seconds=12)))
    assert made.kernel_started == "2026-06-01T12:00:00.250Z"
    assert (made.ready, made.tries, made.cpu_seconds) == (7.25, 1, 0.6)
    assert spans(*made.spans) == {
        "EC2: order to kernel": (-12.0, 0.0),
        "firmware": (-2.5, -1.5),
        "boot loader": (-1.5, 0.0),
        "kernel": (0.0, 1.0),
        "initrd": (1.0, 2.0),
        "network-online.target": (3.0, 3.0),
        "starting Python": (3.2, 3.5),
        "asking": (3.5, 4.0),
        "converging": (4.0, 7.0),
        "containerd.service": (5.0, 5.5),
        "unit:kubelet": (5.0, 6.5),
    }
    assert [span.begins for span in made.spans] == sorted(span.begins for span in made.spans)


def test_without_an_initrd_the_kernel_ends_where_userspace_begins() -> None:
    made = add_run(None, replace(STAMPS, initrd=None, firmware=None, loader=None), RUN)
    assert spans(*made.spans)["kernel"] == (0.0, 2.0)
    assert "firmware" not in spans(*made.spans)


def test_a_clock_that_is_wrong_makes_no_launch_of_days_or_of_less_than_nothing() -> None:
    made = add_run(None, STAMPS, replace(RUN, launched=KERNEL - timedelta(days=3)))
    assert "EC2: order to kernel" not in spans(*made.spans)
    made = add_run(None, STAMPS, replace(RUN, launched=KERNEL + timedelta(seconds=3)))
    assert "EC2: order to kernel" not in spans(*made.spans)


def test_tries_that_failed_become_one_stretch_and_the_last_one_is_told_in_full() -> None:
    first = add_run(None, STAMPS, replace(RUN, ready=False))
    assert first.ready is None
    later = replace(STAMPS, agent_started=17.0)
    phases = (Phase(name="asking", seconds=0.5, begins=17.5),)
    second = add_run(first, later, Run(phases, Report(()), at=18.5, ready=False))
    third = add_run(second, replace(later, agent_started=28.0), Run(phases, Report(()), at=18.5, ready=True))
    assert third.tries == 3
    assert spans(*third.spans)["earlier tries"] == (3.2, 18.0)
    assert [span.name for span in third.spans].count("asking") == 1


def test_once_ready_nothing_that_runs_later_changes_how_the_boot_was() -> None:
    made = add_run(None, STAMPS, RUN)
    assert add_run(made, STAMPS, replace(RUN, at=99.0, ready=False)) == made


def test_what_ended_after_the_run_is_added_and_a_restart_since_does_not_move_what_was_seen() -> None:
    made = add_run(None, STAMPS, RUN)
    units = (UnitStamps("bootwright-boot.service", 3.1, 7.5), UnitStamps("containerd.service", 900.0, 901.0))
    later = spans(*with_later_stamps(made, replace(STAMPS, units=units, finished=8.0)).spans)
    assert later["bootwright-boot.service"] == (3.1, 7.5)
    assert later["systemd"] == (2.0, 8.0)
    assert later["containerd.service"] == (5.0, 5.5)


def test_it_stays_small_however_long_the_plan_is() -> None:
    outcomes = tuple(Outcome(f"file:/{'x' * 300}/{number}", "changed", 0.02 * number) for number in range(500))
    units = tuple(UnitStamps(f"{number}.service", 1.0, 2.0) for number in range(200))
    made = add_run(None, replace(STAMPS, units=units), replace(RUN, report=Report(outcomes)))
    steps = [span for span in made.spans if span.kind == "step"]
    assert len(made.spans) <= MOST_SPANS
    assert len(steps) <= MOST_STEPS
    status = NodeStatus(instance_id="i-1", timeline=made)
    assert len(encode_status(status)) < MAX_BYTES // 10
    assert decode_status(encode_status(status)) == status


def test_a_fleet_compares_lengths_and_of_a_moment_when_it_came() -> None:
    found = dict(measured(add_run(None, STAMPS, RUN)))
    assert found["containerd.service"] == 0.5
    assert found["until network-online.target"] == 3.0
    assert found["until ready"] == 7.25
    assert found["converging"] == 3.0


@given(st.floats(-1e4, 1e6), st.floats(0, 1e6), st.floats(-1e4, 0), st.floats(0, 1e6), st.integers(1, 200))
def test_no_bar_leaves_its_column(begins: float, length: float, left: float, right: float, width: int) -> None:
    before, cells = bar(Span(kind="agent", name="x", begins=begins, ends=begins + length), (left, right), width)
    assert before >= 0
    assert cells >= 1
    assert before + cells <= width


def test_the_axis_reaches_from_the_order_to_the_last_stamp() -> None:
    made = add_run(None, STAMPS, replace(RUN, launched=KERNEL - timedelta(seconds=12)))
    assert axis_of(made) == (-12.0, 7.25)
