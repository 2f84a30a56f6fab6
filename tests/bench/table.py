"""The figures for people: a table in the terminal, the same in docs/benchmarks.md, and JSON for scripts."""

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.figures import Phase, Row, Target
from tests.lab.cache import CHECKOUT

if TYPE_CHECKING:
    from rich.table import Table

DOCUMENT = CHECKOUT / "docs/benchmarks.md"
_BEGIN, _END = "<!-- make bench WRITE=1 writes from here -->\n", "<!-- to here -->\n"
HEAD = ("what", "CPU", "wall", "peak", "files opened", "read", "requests", "target", "verdict")


@dataclass(frozen=True, slots=True)
class Results:
    rows: tuple[Row, ...]
    phases: dict[str, tuple[Phase, ...]]  # by command
    calls: dict[str, int]  # port and method -> calls of a boot to what is a double here

    @property
    def met(self) -> bool:
        return all(row.met for row in self.rows)


def machine() -> dict[str, str]:
    model = next((line.partition(": ")[2] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal"))
    commit = subprocess.run(
        ["git", "log", "-1", "--format=%h"], cwd=CHECKOUT, check=False, capture_output=True, text=True
    ).stdout.strip()
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": commit or "not a git checkout",
        "machine": f"{os.cpu_count()} x {model}, {memory / 1024**2:.0f} GiB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f} in the minute before the table was printed",
    }


def cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        seconds(row.cpu),
        seconds(row.wall),
        "" if row.peak_mib is None else f"{row.peak_mib:.0f} MiB",
        "" if row.opened is None else f"{row.opened} ({row.state_files} not code)",
        "" if row.read_bytes is None else f"{row.read_bytes / 1e6:.1f} MB",
        ", ".join(f"{count} {name}" for name, count in sorted(row.requests.items())),
        ", ".join(_target(target) for target in row.targets),
        ("met" if row.met else "MISSED") if row.targets else "",
    )


def seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _target(target: Target) -> str:
    if target.figure == "peak_mib":
        return f"under {target.limit:.0f} MiB"
    if target.figure == "opened":
        return f"under {target.limit:.0f} files"
    return f"{'CPU' if target.figure == 'cpu' else target.figure} under {seconds(target.limit)}"


def print_results(results: Results) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if os.isatty(1) else 200)
    table = Table(*HEAD, title="medians of fresh processes")
    for row in results.rows:
        table.add_row(*cells(row), style="" if row.met else "red")
    console.print(table)
    for command, phases in results.phases.items():
        console.print(_phase_table(command, phases))
    for name, value in machine().items():
        console.print(f"{name:8} {value}")


def _phase_table(command: str, phases: tuple[Phase, ...]) -> "Table":
    from rich.table import Table

    table = Table("phase", "CPU", "wall", title=command)
    for phase in phases:
        table.add_row(phase.name, seconds(phase.cpu), seconds(phase.wall))
    return table


def document(results: Results) -> dict[str, Any]:
    return {
        "about": machine(),
        "rows": [asdict(row) | {"met": row.met} for row in results.rows],
        "phases": {command: [asdict(phase) for phase in phases] for command, phases in results.phases.items()},
        "calls": results.calls,
    }


def write_document(results: Results, path: Path = DOCUMENT) -> None:
    """Replace what lies between the two marks; the words around them are people's."""
    path.write_text(replace_between(path.read_text(), (_BEGIN, _END), markdown(results)))


def replace_between(text: str, marks: tuple[str, str], content: str) -> str:
    """ValueError if the marks are not there: nothing is written then."""
    begin, end = marks
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"there is no {begin.strip()} ... {end.strip()} to write between")
    return f"{before}{begin}\n{content}\n{end}{after}"


def markdown(results: Results) -> str:
    parts = [markdown_table(HEAD, [cells(row) for row in results.rows])]
    for command, phases in results.phases.items():
        rows = [(phase.name, seconds(phase.cpu), seconds(phase.wall)) for phase in phases]
        parts.append(f"`{command}`, phase by phase:\n\n{markdown_table(('phase', 'CPU', 'wall'), rows)}")
    calls = ", ".join(f"{count} {name}" for name, count in sorted(results.calls.items()))
    parts.append(f"Calls of `agent boot`, everything present, to what is a double here: {calls}.\n")
    parts.append("".join(f"* {name}: {value}\n" for name, value in machine().items()))
    return "\n".join(parts)


def markdown_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
