"""What a check found: a verdict on one thing, in words, with the command that mends it."""

from dataclasses import dataclass
from typing import Any, Literal

from pki.errors import PkiError
from units.errors import BootwrightError

State = Literal["ok", "warn", "fail", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`fix` is what a person does next; `code` a stable code that docs/troubleshooting.md lists, where there is one."""

    state: State
    found: str
    fix: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Examined:
    """A check that has ended, one way or another."""

    check: str
    finding: Finding
    seconds: float = 0.0

    def as_document(self) -> dict[str, Any]:
        finding = self.finding
        return {
            "check": self.check,
            "state": finding.state,
            "found": finding.found,
            "fix": finding.fix,
            "code": finding.code,
            "seconds": round(self.seconds, 2),
        }


def ok(found: str) -> Finding:
    return Finding("ok", found)


def warn(found: str, fix: str, code: str = "") -> Finding:
    return Finding("warn", found, fix, code)


def fail(found: str, fix: str, code: str = "") -> Finding:
    return Finding("fail", found, fix, code)


def skipped(why: str) -> Finding:
    return Finding("skipped", why)


def failed(error: BootwrightError | PkiError) -> Finding:
    """The agent's own words for what it could not do."""
    return fail(str(error), error.remedy, error.code)


def worst(findings: list[Finding]) -> Finding:
    """The first of the worst, which tells how many more there are; all of them when nothing is wrong."""
    for state in ("fail", "warn"):
        bad = [finding for finding in findings if finding.state == state]
        if bad:
            more = "".join(f"; {finding.found}" for finding in bad[1:4])
            rest = f"; and {len(bad) - 4} more" if len(bad) > 4 else ""
            return Finding(state, f"{bad[0].found}{more}{rest}", bad[0].fix, bad[0].code)
    good = [finding.found for finding in findings if finding.state == "ok"]
    return ok("; ".join(good)) if good else skipped("; ".join(finding.found for finding in findings))
