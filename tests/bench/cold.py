"""A boot of a lab machine with nothing in its page cache, with and without what was done about it.

    python -m tests.bench.cold [--runs 3] [--write]

One control-plane node and one worker come up; then, on each, `agent boot` runs with dropped caches in four ways.
Nothing is to be changed then, so that neither EC2 nor etcd nor kubelet is waited for: what is measured is the agent's
own share. The machine's disk counts its reads: on a volume made of a snapshot each is a round trip, of milliseconds.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.table import DOCUMENT, machine, markdown_table, replace_between, seconds
from tests.lab.kubernetes.provide import provide
from tests.lab.scenario import GROUP, WORKERS, Scenario
from tests.lab.screen import Screen

BEGIN, END = "<!-- python -m tests.bench.cold --write writes from here -->\n", "<!-- to here: cold -->\n"
VENV = "/opt/bootwright/venv"
_LIST = "/opt/bootwright/readahead.list"
_READ_AHEAD = f"xargs --arg-file={_LIST} --max-procs=4 --max-args=8 cat > /dev/null"
_SECTOR = 512
UNITS = ("bootwright-readahead", "bootwright-boot")


@dataclass(frozen=True, slots=True)
class Way:
    """How the agent is started: with its file of modules, with byte code, after its files were read."""

    name: str
    options: str = ""
    modules: bool = False
    ahead: bool = False


WAYS = (
    Way("no byte code", options="-B -X pycache_prefix=/nonexistent"),
    Way("byte code, a file a module"),
    Way("byte code in one file", modules=True),
    Way("byte code in one file, read ahead", modules=True, ahead=True),
)

# Nothing but built-ins of bash between the drop and the agent: every other program would be read from the disk too.
_MEASURE = """\
cd /; set -eu; TIMEFORMAT='%R %U %S'
systemctl stop bootwright-sync.timer
{hide}
trap '{restore}' EXIT
sync; echo 3 > /proc/sys/vm/drop_caches
{ahead}
read -r -a before < /sys/block/ubda/stat
{{ time {venv}/bin/python -I {options} -m agent boot > /run/bench.out 2>&1; }} 2> /run/bench.time
read -r -a after < /sys/block/ubda/stat
read -r times < /run/bench.time
echo "$times $((after[0] - before[0])) $((after[2] - before[2]))"
"""

_COUNT = """\
import runpy, sys
events = {"open": 0, "subprocess.Popen": 0}
def count(event, arguments):
    if event in events:
        events[event] += 1
sys.addaudithook(count)
sys.argv = ["agent", "boot"]
try:
    runpy.run_module("agent", run_name="__main__")
except SystemExit:
    print("\\ncounted", *events.values())
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one way on one machine: medians in seconds, requests to the disk, bytes from it; files opened by Python, and
    processes started by it.
    """

    role: str
    way: Way
    wall: float
    cpu: float
    reads: int
    read_bytes: int
    opened: int
    processes: int

    @property
    def cells(self) -> tuple[str, ...]:
        disk = f"{self.reads} reads, {self.read_bytes / 1e6:.1f} MB"
        counts = str(self.opened), str(self.processes)
        return self.role, self.way.name, seconds(self.cpu), seconds(self.wall), *counts, disk


class Machine:
    """One node that is ready."""

    def __init__(self, scenario: Scenario, instance: str, role: str) -> None:
        self._scenario = scenario
        self.instance = instance
        self.role = role

    def sh(self, script: str) -> str:
        return self._scenario.on_node(self.instance, "bash", "-c", script, timeout=600.0)

    def measure(self, way: Way, runs: int) -> Figures:
        samples = [self._once(way) for _ in range(runs)]
        middle = [statistics.median(column) for column in zip(*samples, strict=True)]
        wall, user, system, reads, sectors = middle
        opened, processes = self._counted(way)
        read_bytes = int(sectors) * _SECTOR
        return Figures(self.role, way, wall, user + system, int(reads), read_bytes, opened, processes)

    def _once(self, way: Way) -> tuple[float, ...]:
        script = _MEASURE.format(
            venv=VENV, options=way.options, ahead=_READ_AHEAD if way.ahead else ":", **_hiding(way)
        )
        return tuple(float(word) for word in self.sh(script).splitlines()[-1].split())

    def _counted(self, way: Way) -> tuple[int, int]:
        hiding = _hiding(way)
        self.sh(f"cat > /run/count.py <<'PYTHON'\n{_COUNT}PYTHON")
        command = f'{VENV}/bin/python -I {way.options} -c "$(cat /run/count.py)" 2> /dev/null'
        said = self.sh(f"cd /; {hiding['hide']}; trap '{hiding['restore']}' EXIT; {command}")
        opened, processes = said.splitlines()[-1].removeprefix("counted ").split()
        return int(opened), int(processes)

    def first_boot(self) -> dict[str, Any]:
        """Its status as its first boot left it."""
        status: dict[str, Any] = json.loads(self.sh("agent status --json || true"))
        return status

    def unit(self, name: str) -> dict[str, float]:
        """Seconds of CPU and wall of a unit's first boot, as systemd counts them: of all its tries and tools."""
        said = self.sh(
            f"systemctl show {name} --property=CPUUsageNSec,ExecMainStartTimestampMonotonic,"
            "ExecMainExitTimestampMonotonic"
        )
        values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        begun, ended = (int(values[f"ExecMain{end}TimestampMonotonic"]) / 1e6 for end in ("Start", "Exit"))
        cpu = values["CPUUsageNSec"]
        return {"cpu": int(cpu) / 1e9 if cpu.isdigit() else float("nan"), "begun": begun, "wall": ended - begun}


def _hiding(way: Way) -> dict[str, str]:
    file = f"{VENV}/agent.modules"
    if way.modules:
        return {"hide": ":", "restore": ":"}
    return {"hide": f"mv {file} {file}.away", "restore": f"mv {file}.away {file}"}


@contextmanager
def machines(folder: Path) -> Iterator[tuple[Machine, Machine]]:
    scenario = Scenario(folder / "lab", provide(folder / "kubernetes"), Screen())
    try:
        scenario.up()
        scenario.found()
        scenario.publish()
        control_plane, worker = scenario.launch(GROUP), scenario.launch(WORKERS)
        for instance in (control_plane, worker):
            scenario.wait_until_ready(instance)
        yield Machine(scenario, control_plane, "control plane"), Machine(scenario, worker, "worker")
    finally:
        scenario.down()


def report(found: Sequence[Figures], first: Sequence[tuple[str, dict[str, Any], dict[str, dict[str, float]]]]) -> str:
    head = ("machine", "started with", "CPU", "wall", "files opened", "processes", "from the disk")
    rows = [row for role, status, units in first for row in _first_boot(role, status, units)]
    parts = [
        markdown_table(head, [figures.cells for figures in found]),
        "The first boot from power-on, with doubles of Kubernetes; waits for EC2, etcd and the issuer are in it:\n",
        markdown_table(("machine", "phase", "begins after the kernel", "takes", "CPU"), rows),
        "".join(f"* {name}: {value}\n" for name, value in machine().items()),
    ]
    return "\n".join(parts)


def _first_boot(
    role: str, status: dict[str, Any], units: dict[str, dict[str, float]]
) -> Iterator[tuple[str, str, str, str, str]]:
    for phase in status["phases"]:
        yield role, phase["name"], _at(phase), seconds(phase["seconds"]), ""
    for name, unit in units.items():
        yield role, f"all of {name}", seconds(unit["begun"]), seconds(unit["wall"]), seconds(unit["cpu"])


def _at(phase: dict[str, Any]) -> str:
    begins = phase.get("begins")
    return "" if begins is None else seconds(begins)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cold", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="boots of each kind; the median counts (3)")
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="bootwright-cold-", dir="/var/tmp") as name, machines(Path(name)) as both:
        first = [(one.role, one.first_boot(), {name: one.unit(name) for name in UNITS}) for one in both]
        found = [one.measure(way, chosen.runs) for one in both for way in WAYS]
    text = report(found, first)
    sys.stdout.write(text + "\n")
    if chosen.write:
        DOCUMENT.write_text(replace_between(DOCUMENT.read_text(), (BEGIN, END), text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
