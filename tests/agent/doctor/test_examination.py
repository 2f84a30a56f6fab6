"""How checks run: bounded whatever hangs, skipped behind what failed, and none of them can take the others down."""

import threading

from agent.doctor.examination import Check, examine
from agent.doctor.finding import Finding, fail, ok, warn, worst
from agent.doctor.verdict import first_cause, verdict
from units.errors import Retryable


def test_what_needs_a_failed_check_is_skipped_and_the_first_cause_is_the_first_in_order() -> None:
    checks = (
        Check("a", lambda _case: ok("fine")),
        Check("b", lambda _case: fail("broken", "mend it", "b-broken")),
        Check("c", lambda _case: ok("never looked at"), needs=("b",)),
        Check("d", lambda _case: ok("never looked at"), needs=("c",)),
        Check("e", lambda _case: fail("too", "mend"), after=("b",)),
    )
    examined = examine(None, checks)
    assert [one.finding.state for one in examined] == ["ok", "fail", "skipped", "skipped", "fail"]
    assert verdict(examined) == "first cause: b (b-broken): broken; fix: mend it"


def test_everything_hangs_and_the_doctor_still_ends_with_every_check_told() -> None:
    never = threading.Event()

    def hang(_case: None) -> Finding:
        never.wait()
        return ok("")

    checks = (
        Check("a", hang, seconds=0.2),
        Check("b", hang, needs=("a",)),
        Check("c", hang, after=("a",), seconds=60),
        Check("d", hang, after=("c",)),
    )
    examined = examine(None, checks, limit=0.5)
    never.set()
    assert [(one.check, one.finding.state) for one in examined] == [
        ("a", "fail"),
        ("b", "skipped"),
        ("c", "fail"),
        ("d", "skipped"),
    ]
    assert examined[0].finding.code == "doctor-no-answer"
    assert "no time left" in examined[3].finding.found


def test_a_refusal_keeps_its_code_and_a_defect_is_told_as_one() -> None:
    def refuse(_case: None) -> Finding:
        raise Retryable("s3-unreachable", "no answer", remedy="look at the route")

    def break_down(_case: None) -> Finding:
        raise KeyError("oops")

    refused, broken = (one.finding for one in examine(None, (Check("a", refuse), Check("b", break_down))))
    assert (refused.code, refused.found, refused.fix) == ("s3-unreachable", "no answer", "look at the route")
    assert (broken.state, broken.code) == ("fail", "doctor-check-broken")


def test_a_warning_is_no_cause_but_is_pointed_at() -> None:
    examined = examine(None, (Check("a", lambda _case: warn("low", "look")), Check("b", lambda _case: ok("fine"))))
    assert first_cause(examined) is None
    assert verdict(examined) == "nothing fails; look at a"


def test_the_worst_of_several_leads_and_counts_the_rest() -> None:
    found = worst([ok("x"), warn("low", "df"), *(fail(f"full {n}", "rm", "disk-full") for n in range(6))])
    assert (found.state, found.fix, found.code) == ("fail", "rm", "disk-full")
    assert found.found == "full 0; full 1; full 2; full 3; and 2 more"
