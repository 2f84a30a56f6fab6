"""docs/troubleshooting.md against the source: no code without a row, no row without a code, no command that is not."""

import re

import pytest

from agent.doctor.checks import CHECKS
from tests.docs.codes import ROOT, codes
from tests.docs.commands import unknown_commands
from tests.docs.troubleshooting import PAGE, by_code
from tests.docs.words import COMPOSED

TEXT = PAGE.read_text()
ROW = re.compile(r"^\| `([A-Za-z0-9-]+)` \| ([0-9/]*) \| (.*?) \| (.*?) \|$", re.MULTILINE)
ROWS = {name: (exits, meaning, remedy) for name, exits, meaning, remedy in ROW.findall(TEXT)}
FAILURE = re.compile(r"^\| (\d+) \| (.*?) \| (.*?) \| (.*?) \|", re.MULTILINE)
WRITE = "run `python -m tests.docs.troubleshooting`, and read what it wrote"


def test_the_reader_of_the_source_sees_every_kind_of_place() -> None:
    """Else an empty table would agree with an empty source."""
    found = by_code()
    for code in ("s3-access-denied", "unit-not-stopped", "instance-wrong-profile", "volume-missing", "renewal-failed"):
        assert code in found
    for code in ("trust-disk-full", "port-taken", "key-mismatch", "not-converged", "defect", "TrustStale"):
        assert code in found, code
    assert len(found) > 350


def test_every_code_of_the_source_has_a_row() -> None:
    assert sorted(set(by_code()) - set(ROWS)) == [], WRITE


def test_every_row_is_of_a_code_that_still_is() -> None:
    assert sorted(set(ROWS) - set(by_code())) == [], WRITE


def test_every_row_says_what_it_means_and_what_to_do() -> None:
    assert [name for name, (_, meaning, remedy) in ROWS.items() if not meaning.strip() or not remedy.strip()] == []


def test_codes_that_are_put_together_are_spelt_out() -> None:
    assert {code.pattern for code in codes() if not code.is_whole} <= set(COMPOSED)


def test_every_command_that_the_page_names_is_there() -> None:
    assert sorted(set(unknown_commands(TEXT))) == []


def test_every_command_that_a_remedy_of_the_source_names_is_there() -> None:
    bad = {name: code.place for code in codes() for name in unknown_commands(f"{code.remedy}.")}
    assert bad == {}


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("run `agent docter`", ["agent docter"]),
        ("agent etcd backpu; agent status", ["agent etcd backpu"]),
        ("`coordinator trust rotate ca`, coordinator rolout status", ["coordinator rolout"]),
        ("the agent keeps it; agent doctor on the node", []),
    ],
)
def test_a_command_that_is_not_is_found(text: str, unknown: list[str]) -> None:
    assert list(unknown_commands(text)) == unknown


def test_each_failure_of_a_joining_node_has_its_test_its_codes_and_its_check() -> None:
    tests = (ROOT / "tests/agent/doctor/test_failures.py").read_text()
    failures = FAILURE.findall(TEXT)
    assert [int(number) for number, *_ in failures] == list(range(1, 22))
    checks = {check.name for check in CHECKS}
    for number, _symptom, status, doctor in failures:
        cases = re.findall(rf"(?ms)^def test_{int(number):02}_.*?(?=^def |\Z)", tests)
        assert cases, number
        assert doctor.partition(":")[0] in checks, doctor
        for code in re.findall(r"`([a-z0-9-]+)`", f"{status} {doctor}"):
            assert code in by_code(), code
            assert (
                any(code in case for case in cases) or code in tests.partition(f"def test_{int(number):02}_")[0][-300:]
            )


def test_the_order_of_the_checks_is_the_one_on_the_page() -> None:
    names = re.sub(r"\s+", " ", TEXT)
    assert ", ".join(check.name for check in CHECKS) in names
