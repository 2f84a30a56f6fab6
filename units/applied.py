"""Applied: how a run of the transaction ended, for whoever has to tell of it."""

from dataclasses import dataclass
from typing import Literal

from units.renewing import Postponed
from units.report import Failure, Outcome, Report

# refused: shown to those who must read it, it was found wrong, and nothing was changed.
# rebooting: the machine goes down now, and the next boot goes on.
End = Literal["unchanged", "committed", "refused", "rebooting", "undone", "failed"]


@dataclass(frozen=True, slots=True)
class Applied:
    """`failure` of an undone or refused target is why; of a failed one, what keeps the machine from either."""

    end: End
    digest: str  # of the manifest that was tried: the one asked for, or one whose undoing had to be finished first
    report: Report
    running: str  # digest of the manifest that this machine is committed to now; empty before the first
    failure: Failure | None = None
    drift: tuple[Outcome, ...] = ()  # what somebody changed behind our back, and what nobody repaired
    postponed: tuple[Postponed, ...] = ()  # renewals that failed and can wait
    still_cordoned: Failure | None = None  # why the Node could not be uncordoned after a drain
