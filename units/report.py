"""Outcome and Report: what converging a plan did, resource by resource."""

from dataclasses import dataclass
from typing import Literal

from units.resource import Change

Status = Literal["unchanged", "changed", "would-change", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Failure:
    code: str
    message: str
    remedy: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Outcome:
    key: str
    status: Status
    seconds: float
    change: Change | None = None
    failure: Failure | None = None
    begun: float = 0.0  # by the host's monotonic clock


@dataclass(frozen=True, slots=True)
class Report:
    outcomes: tuple[Outcome, ...]

    @property
    def failure(self) -> Failure | None:
        """The first failure: everything after it was skipped."""
        return next((outcome.failure for outcome in self.outcomes if outcome.failure), None)

    @property
    def changed(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.status in ("changed", "would-change"))
