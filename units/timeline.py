"""A boot on one axis: what the kernel, systemd and the agent stamped, in seconds after the kernel started.

All stamps are CLOCK_MONOTONIC, which Linux counts from its own start: systemd(1) gives its stamps by it, Python's
time.monotonic() reads it. What came before the kernel (EC2, firmware) is negative.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from units.report import Report
from units.status import BootTimeline, Phase, Span

MACHINE, UNIT, AGENT, STEP = "machine", "unit", "agent", "step"
MOST_STEPS = 12  # resources, the longest: a plan has ninety, of which most take a millisecond
MOST_SPANS = 64
SHORTEST_STEP = 0.02  # seconds
LONGEST_LAUNCH = 1800.0  # seconds between EC2's order and the kernel; more is a clock that is wrong
_LONGEST_NAME = 80
_UNTIL = "until "

# What a node's boot consists of, whoever starts it. Those that a machine does not have are left out.
UNITS = (
    "systemd-udev-settle.service",
    "local-fs.target",
    "sysinit.target",
    "systemd-networkd-wait-online.service",
    "network-online.target",
    "cloud-init-main.service",
    "cloud-init-local.service",
    "cloud-init.service",
    "cloud-init-network.service",
    "cloud-config.service",
    "cloud-final.service",
    "chrony.service",
    "bootwright-readahead.service",
    "bootwright-boot.service",
    "containerd.service",
    "bootwright-etcd-main.service",
    "bootwright-etcd-events.service",
    "kubelet.service",
    "multi-user.target",
)


@dataclass(frozen=True, slots=True)
class UnitStamps:
    """InactiveExitTimestampMonotonic and ActiveEnterTimestampMonotonic; None for one that did not happen."""

    name: str
    started: float | None
    active: float | None


@dataclass(frozen=True, slots=True)
class Stamps:
    """`firmware` and `loader` are how long before the kernel they began; None where there is no such stage."""

    kernel_started: datetime
    firmware: float | None = None
    loader: float | None = None
    initrd: float | None = None
    userspace: float | None = None
    finished: float | None = None
    units: tuple[UnitStamps, ...] = ()
    agent_started: float | None = None  # the process, before its first line ran


@dataclass(frozen=True, slots=True)
class Run:
    """One run of `agent boot`, as it ends. `at` is its end; times are CLOCK_MONOTONIC."""

    phases: tuple[Phase, ...]
    report: Report
    at: float
    ready: bool
    cpu_seconds: float = 0.0
    launched: datetime | None = None  # when EC2 took the order for this boot


def add_run(before: BootTimeline | None, stamps: Stamps, run: Run) -> BootTimeline:
    """The timeline after one more run. Once a run has brought the node up, later ones change nothing."""
    if before is not None and before.ready is not None:
        return before
    earlier = _earlier_tries(before)
    spans = (*_launch(stamps, run.launched), *machine_spans(stamps), *earlier, *_agent(stamps, run), *_steps(run))
    return BootTimeline(
        kernel_started=f"{stamps.kernel_started:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
        ready=round(run.at, 3) if run.ready else None,
        tries=1 + (before.tries if before else 0),
        cpu_seconds=round(run.cpu_seconds, 3),
        spans=in_order(spans),
    )


def with_later_stamps(timeline: BootTimeline, stamps: Stamps) -> BootTimeline:
    """With what happened after the agent's run had ended, such as its own unit; what it saw itself stays, because a
    unit that was restarted since has other stamps.
    """
    known = {(span.kind, span.name) for span in timeline.spans}
    later = [span for span in machine_spans(stamps) if (span.kind, span.name) not in known]
    return timeline.model_copy(update={"spans": in_order((*timeline.spans, *later))})


def machine_spans(stamps: Stamps) -> tuple[Span, ...]:
    """What the kernel and systemd tell."""
    userspace = stamps.userspace
    found = [
        _span(MACHINE, "firmware", _negative(stamps.firmware), _negative(stamps.loader) or 0.0),
        _span(MACHINE, "boot loader", _negative(stamps.loader), 0.0),
        _span(MACHINE, "kernel", 0.0, stamps.initrd if stamps.initrd is not None else userspace),
        _span(MACHINE, "initrd", stamps.initrd, userspace),
        _span(MACHINE, "systemd", userspace, stamps.finished),
        *(_unit(unit) for unit in stamps.units),
    ]
    return tuple(span for span in found if span is not None)


def in_order(spans: Iterable[Span]) -> tuple[Span, ...]:
    """By their beginning, the longer first, and of each name the first; at most MOST_SPANS."""
    first: dict[tuple[str, str], Span] = {}
    for span in sorted(spans, key=lambda span: (span.begins, -span.ends)):
        first.setdefault((span.kind, span.name), span)
    return tuple(first.values())[:MOST_SPANS]


def bar(span: Span, axis: tuple[float, float], width: int) -> tuple[int, int]:
    """Cells before it, and cells of it: at least one, and none outside `width`."""
    begin, end = axis
    scale = width / max(end - begin, 0.001)
    first = min(int((span.begins - begin) * scale), width - 1)
    last = min(int((span.ends - begin) * scale), width - 1)
    return max(first, 0), max(last - max(first, 0), 0) + 1


def axis_of(timeline: BootTimeline) -> tuple[float, float]:
    """From the first stamp to the last."""
    begins = min((span.begins for span in timeline.spans), default=0.0)
    ends = max((span.ends for span in timeline.spans), default=0.0)
    return min(begins, 0.0), max(ends, timeline.ready or 0.0)


def measured(timeline: BootTimeline) -> tuple[tuple[str, float], ...]:
    """What a fleet can be compared by, in seconds: how long each stretch took, and of a unit's moment, when it came."""
    found = [_measure(span) for span in timeline.spans]
    if timeline.ready is not None:
        found.append(("until ready", timeline.ready))
    return tuple((name[:_LONGEST_NAME], seconds) for name, seconds in found)


def _measure(span: Span) -> tuple[str, float]:
    if span.kind == UNIT and span.begins == span.ends:  # a target, or a service that is up as soon as it is started
        return f"{_UNTIL}{span.name}", span.begins
    return span.name, span.ends - span.begins


def _launch(stamps: Stamps, launched: datetime | None) -> tuple[Span, ...]:
    if launched is None:
        return ()
    before = (stamps.kernel_started - launched).total_seconds()
    found = _span(MACHINE, "EC2: order to kernel", -before, 0.0) if before <= LONGEST_LAUNCH else None
    return (found,) if found else ()


def _unit(unit: UnitStamps) -> Span | None:
    started = unit.active if unit.started is None else unit.started
    return _span(UNIT, unit.name, started, unit.active)


def _earlier_tries(before: BootTimeline | None) -> tuple[Span, ...]:
    """All runs that did not get there, in one: a node may try for a day."""
    agents = [span for span in before.spans if span.kind == AGENT] if before else []
    if before is None or not agents:
        return ()
    begins, ends = min(span.begins for span in agents), max(span.ends for span in agents)
    return (Span(kind=AGENT, name="earlier tries", begins=begins, ends=ends),)


def _agent(stamps: Stamps, run: Run) -> tuple[Span, ...]:
    phases = [phase for phase in run.phases if phase.begins is not None]
    first = min((phase.begins for phase in phases if phase.begins is not None), default=run.at)
    starting = _span(AGENT, "starting Python", stamps.agent_started, first)
    spans = [_span(AGENT, phase.name, phase.begins, (phase.begins or 0.0) + phase.seconds) for phase in phases]
    return tuple(span for span in (starting, *spans) if span is not None)


def _steps(run: Run) -> tuple[Span, ...]:
    """The resources that took longest."""
    longest = sorted(run.report.outcomes, key=lambda outcome: -outcome.seconds)[:MOST_STEPS]
    spans = [
        _span(STEP, outcome.key, outcome.begun, outcome.begun + outcome.seconds)
        for outcome in longest
        if outcome.seconds >= SHORTEST_STEP
    ]
    return tuple(span for span in spans if span is not None)


def _span(kind: str, name: str, begins: float | None, ends: float | None) -> Span | None:
    """None unless both ends are known, and in their order."""
    if begins is None or ends is None or ends < begins:
        return None
    return Span(kind=kind, name=name[:_LONGEST_NAME], begins=round(begins, 3), ends=round(ends, 3))


def _negative(seconds: float | None) -> float | None:
    return None if seconds is None else -seconds
