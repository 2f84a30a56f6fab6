"""Stamps of this boot: what systemctl prints, and what the kernel has."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from agent.boot_timeline import record_boot
from agent.linux.boot_stamps import cpu_seconds, gather_stamps, is_first_boot, kernel_started
from agent.linux.run import Completed
from agent.reporter import Reporter
from tests.agent.boot_double import NOW
from units.memory import MemoryClock
from units.report import Report
from units.status import NodeStatus, Phase
from units.timeline import UNITS, UnitStamps

# systemd 257 in the lab, shortened; a unit that is not installed has an Id and zeros.
MANAGER = """\
FirmwareTimestampMonotonic=0
LoaderTimestampMonotonic=0
InitRDTimestampMonotonic=0
UserspaceTimestampMonotonic=612301
FinishTimestampMonotonic=0
"""
BLOCKS = """\
Id=network-online.target
ActiveEnterTimestampMonotonic=2104002
InactiveExitTimestampMonotonic=2104002

Id=bootwright-boot.service
ActiveEnterTimestampMonotonic=0
InactiveExitTimestampMonotonic=2110000

Id=cloud-final.service
ActiveEnterTimestampMonotonic=0
InactiveExitTimestampMonotonic=0
"""


def systemctl_double(
    arguments: Sequence[str], *, timeout: float, stdin: bytes = b"", allowed: tuple[int, ...] | None = (0,)
) -> Completed:
    """Recorded answers."""
    assert timeout <= 10
    assert arguments[:2] == ["systemctl", "show"]
    units = arguments[arguments.index("--") + 1 :]
    return Completed(tuple(arguments), 0, (BLOCKS if units else MANAGER).encode(), b"")


def test_microseconds_become_seconds_and_zero_is_never() -> None:
    stamps = gather_stamps(systemctl_double)
    assert (stamps.firmware, stamps.initrd, stamps.userspace, stamps.finished) == (None, None, 0.612301, None)
    assert stamps.units == (
        UnitStamps("network-online.target", 2.104002, 2.104002),
        UnitStamps("bootwright-boot.service", 2.11, None),
        UnitStamps("cloud-final.service", None, None),
    )


def test_the_kernels_start_is_the_one_that_proc_stat_has() -> None:
    found = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    assert found is not None
    assert abs(kernel_started().timestamp() - int(found[1])) <= 1.0, "btime is in whole seconds"


def test_this_process_started_before_now_and_after_the_kernel() -> None:
    import time

    stamps = gather_stamps(systemctl_double)
    assert stamps.agent_started is not None
    assert 0 <= stamps.agent_started <= time.monotonic()
    assert cpu_seconds() > 0


def test_every_unit_of_a_boot_is_asked_for_in_one_call() -> None:
    asked: list[Sequence[str]] = []

    def remember(arguments: Sequence[str], **rest: object) -> Completed:
        asked.append(arguments)
        return systemctl_double(arguments, timeout=1.0)

    gather_stamps(remember)
    assert len(asked) == 2
    assert set(UNITS) <= set(asked[1])


def test_a_run_that_ends_puts_its_timeline_into_the_status_that_is_sent() -> None:
    written: list[NodeStatus] = []
    reporter = Reporter(NodeStatus(instance_id="i-1"), MemoryClock(at=NOW), written.append)
    reporter.at_end = record_boot
    with reporter.phase("asking"):
        pass
    reporter.converged(Report(()))
    reporter.finish(4)
    timeline = written[-1].timeline
    assert timeline is not None
    assert (timeline.ready, timeline.tries) == (None, 1)
    assert "asking" in [span.name for span in timeline.spans]
    reporter.finish(0)
    ready = written[-1].timeline
    assert ready is not None
    assert ready.ready is not None
    assert ready.tries == 2


def test_a_ready_boots_timeline_is_left_as_it_is() -> None:
    status = NodeStatus(instance_id="i-1", stage="ready", phases=(Phase(name="a", seconds=1, begins=1),))
    once = record_boot(status, Report(()))
    assert record_boot(once, Report(())) == once


def test_a_machine_id_written_in_this_boot_makes_it_the_first_one(tmp_path: Path) -> None:
    machine_id = tmp_path / "machine-id"
    assert not is_first_boot(machine_id)
    machine_id.write_text("ab" * 16)
    assert is_first_boot(machine_id)
    before = kernel_started().timestamp() - 60
    os.utime(machine_id, (before, before))
    assert not is_first_boot(machine_id)
