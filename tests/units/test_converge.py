"""The engine: in order, stop at the first failure, say how each went."""

from dataclasses import dataclass, field

import pytest

from pki.errors import PkiError
from tests.units.machines import empty_machine
from units.converge import converge
from units.errors import BootwrightError, Fatal, Invalid, Problem, Refused, Retryable
from units.host import Host
from units.plan import Plan
from units.report import Report
from units.resource import Change, Description


@dataclass
class ThingDouble:
    """A resource that is missing until it is made, or fails as told."""

    name: str
    log: list[str]
    missing: bool = True
    failing: BaseException | None = None
    failing_check: BaseException | None = None
    stubborn: bool = False
    seconds: float = 0.0
    _checks: int = field(default=0)

    @property
    def key(self) -> str:
        return f"thing:{self.name}"

    def check(self, host: Host) -> Change | None:
        self.log.append(f"check {self.name}")
        if self.failing_check:
            raise self.failing_check
        return Change("make it") if self.missing else None

    def apply(self, host: Host) -> None:
        self.log.append(f"apply {self.name}")
        host.clock.wait(self.seconds, "working")
        if self.failing:
            raise self.failing
        self.missing = self.stubborn

    def describe(self) -> Description:
        return Description(self.key, ())


def run(*things: ThingDouble, dry_run: bool = False) -> Report:
    return converge(Plan(things), empty_machine().host, dry_run=dry_run)


def test_what_is_missing_is_checked_made_and_checked_again_in_order() -> None:
    log: list[str] = []
    report = run(ThingDouble("a", log), ThingDouble("b", log, missing=False), ThingDouble("c", log))
    assert log == ["check a", "apply a", "check a", "check b", "check c", "apply c", "check c"]
    assert [outcome.status for outcome in report.outcomes] == ["changed", "unchanged", "changed"]
    assert [outcome.key for outcome in report.changed] == ["thing:a", "thing:c"]
    assert report.failure is None


ERRORS: list[tuple[BootwrightError | PkiError, int]] = [
    (Fatal("some-code", "what happened", remedy="what to do"), 1),
    (Invalid("some-code", "what happened", remedy="what to do"), 2),
    (Refused("some-code", "what happened", remedy="what to do"), 3),
    (Retryable("some-code", "what happened", remedy="what to do"), 4),
    (PkiError("some-code", "what happened", remedy="what to do"), 1),
]


@pytest.mark.parametrize(("error", "exit_code"), ERRORS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("where", ["failing", "failing_check"])
def test_the_first_failure_stops_the_run_and_says_what_to_do(error: Exception, exit_code: int, where: str) -> None:
    log: list[str] = []
    report = run(ThingDouble("a", log), ThingDouble("b", log, **{where: error}), ThingDouble("c", log))
    assert [outcome.status for outcome in report.outcomes] == ["changed", "failed", "skipped"]
    assert "check c" not in log
    failure = report.failure
    assert failure is not None
    assert (failure.code, failure.exit_code, failure.remedy) == ("some-code", exit_code, "what to do")
    assert failure.message == "thing:b: what happened"


def test_the_next_run_goes_on_from_what_was_done() -> None:
    log: list[str] = []
    things = (ThingDouble("a", log), ThingDouble("b", log, failing=Retryable("not-yet", "not yet")))
    assert run(*things).failure is not None
    things[1].failing = None
    log.clear()
    assert [outcome.status for outcome in run(*things).outcomes] == ["unchanged", "changed"]
    assert "apply a" not in log


def test_an_error_of_the_program_itself_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        run(ThingDouble("a", [], failing=ZeroDivisionError()))


def test_what_does_not_stay_as_it_was_made_is_a_failure_to_try_again() -> None:
    report = run(ThingDouble("a", [], stubborn=True))
    assert report.failure is not None
    assert (report.failure.code, report.failure.exit_code) == ("not-converged", 4)


def test_a_dry_run_makes_nothing_and_looks_at_everything_also_past_a_failure() -> None:
    log: list[str] = []
    bad = ThingDouble("b", log, failing_check=Refused("some-code", "what happened"))
    report = run(ThingDouble("a", log), bad, ThingDouble("c", log), dry_run=True)
    assert log == ["check a", "check b", "check c"]
    assert [outcome.status for outcome in report.outcomes] == ["would-change", "failed", "would-change"]


def test_each_resource_is_announced_before_it_is_looked_at() -> None:
    log: list[str] = []
    things = (ThingDouble("a", log, missing=False), ThingDouble("b", log, missing=False))
    converge(
        Plan(things),
        empty_machine().host,
        observe=lambda resource, number, total: log.append(f"{number}/{total} {resource.key}"),
    )
    assert log == ["1/2 thing:a", "check a", "2/2 thing:b", "check b"]


def test_the_time_that_each_took_is_told() -> None:
    report = run(ThingDouble("a", [], seconds=3.0), ThingDouble("b", []))
    assert [outcome.seconds for outcome in report.outcomes] == [3.0, 0.0]


def test_an_invalid_input_shows_every_problem_on_a_line_of_its_own() -> None:
    problems = (Problem("a.b", "is wrong", line=3), Problem("", "all is wrong"), Problem("c", "too"))
    error = Invalid("some-code", "no good", problems=problems)
    assert str(error) == "no good\n  line 3: a.b: is wrong\n  all is wrong\n  c: too"
