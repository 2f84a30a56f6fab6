"""What was measured, and what was aimed at. Values only."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tests.bench.measure import Sample

Figure = Literal["cpu", "wall", "peak_mib", "opened"]
BENCH = "bench"  # the phase that only the measuring needs


@dataclass(frozen=True, slots=True)
class Target:
    """`figure` should stay below `limit`: seconds, MiB, or files."""

    figure: Figure
    limit: float


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured: medians over fresh processes, and exact counts of one run. None: not looked at."""

    name: str
    cpu: float
    wall: float
    runs: int
    peak_mib: float | None = None
    opened: int | None = None
    state_files: int | None = None  # of the opened: settings, state and what the plan looks at; the rest is code
    read_bytes: int | None = None
    requests: Mapping[str, int] = field(default_factory=dict)
    targets: tuple[Target, ...] = ()

    def value(self, figure: Figure) -> float:
        found = {"cpu": self.cpu, "wall": self.wall, "peak_mib": self.peak_mib, "opened": self.opened}[figure]
        assert found is not None, f"{self.name} has a target for {figure} but no measurement"
        return found

    @property
    def met(self) -> bool:
        return all(self.value(target.figure) < target.limit for target in self.targets)


@dataclass(frozen=True, slots=True)
class Phase:
    name: str
    cpu: float
    wall: float


def without_bench(sample: Sample) -> tuple[float, float]:
    """CPU and wall of a measured agent, less what the measuring itself took."""
    wall, cpu = sample.result["phases"][BENCH]
    return sample.cpu - cpu, sample.wall - wall


def medians(values: Iterable[tuple[float, float]]) -> tuple[float, float]:
    first, second = zip(*values, strict=True)
    return statistics.median(first), statistics.median(second)


def phases(samples: Iterable[Sample]) -> tuple[Phase, ...]:
    """Medians phase by phase, in the order of the story; `end` is the interpreter's own way out."""
    taken = [sample.result["phases"] for sample in samples]
    found = []
    for name in taken[0]:
        if name != BENCH:
            wall, cpu = medians(tuple(phases[name]) for phases in taken)
            found.append(Phase(name, cpu, wall))
    return tuple(found)
