"""When the stages of this boot began and ended, as the kernel and systemd stamped them: two calls of systemctl."""

import os
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.linux.run import Run, run
from units.timeline import UNITS, Stamps, UnitStamps

_TIMEOUT = 10.0
_MANAGER = ("Firmware", "Loader", "InitRD", "Userspace", "Finish")
_STAT = Path("/proc/self/stat")
_MACHINE_ID = Path("/etc/machine-id")
_CLOCK_SET = 10.0  # seconds that the clock may be moved by after systemd has written it


def gather_stamps(run: Run = run, *, units: Sequence[str] = UNITS) -> Stamps:
    """All in seconds; what systemd has no stamp of is left out. Errors are those of `run`."""
    manager = _blocks(run, [], [f"{name}TimestampMonotonic" for name in _MANAGER])[0]
    wanted = ["Id", "InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic"]
    stamps = {name: _seconds(manager, f"{name}TimestampMonotonic") for name in _MANAGER}
    return Stamps(
        kernel_started=kernel_started(),
        firmware=stamps["Firmware"],
        loader=stamps["Loader"],
        initrd=stamps["InitRD"],
        userspace=stamps["Userspace"],
        finished=stamps["Finish"],
        units=tuple(
            UnitStamps(block.get("Id", ""), _seconds(block, wanted[1]), _seconds(block, wanted[2]))
            for block in _blocks(run, units, wanted)
        ),
        agent_started=_process_started(),
    )


def kernel_started() -> datetime:
    """What /proc/stat has as btime in whole seconds: the wall clock as it is right now, less CLOCK_BOOTTIME."""
    return datetime.now(UTC) - timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))


def is_first_boot(machine_id: Path = _MACHINE_ID) -> bool:
    """An image has no machine id; systemd writes one as a machine boots for the first time (machine-id(5))."""
    try:
        return machine_id.stat().st_mtime >= kernel_started().timestamp() - _CLOCK_SET
    except OSError:
        return False


def cpu_seconds() -> float:
    """Of this process, and of the tools that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _blocks(run: Run, units: Sequence[str], properties: Sequence[str]) -> Sequence[Mapping[str, str]]:
    """One for each unit, in systemctl's order; one for the manager itself without units."""
    text = run(["systemctl", "show", f"--property={','.join(properties)}", "--", *units], timeout=_TIMEOUT).text
    return [dict(line.split("=", 1) for line in part.splitlines() if "=" in line) for part in text.split("\n\n")]


def _seconds(block: Mapping[str, str], name: str) -> float | None:
    """Microseconds in systemctl's answer, where 0 is never."""
    text = block.get(name, "")
    return int(text) / 1e6 if text.isascii() and text.isdecimal() and int(text) else None


def _process_started() -> float:
    """On CLOCK_MONOTONIC: proc(5) has it in ticks of CLOCK_BOOTTIME, the 22nd field; the second may hold blanks."""
    ticks = int(_STAT.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])
    asleep = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
    return ticks / os.sysconf("SC_CLK_TCK") - asleep
