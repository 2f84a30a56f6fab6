"""Every kind of resource: missed, made, left alone; every drift is found; no secret shows in anything for people."""

import re

import pytest

from tests.units.machines import FACTS, changes_of, empty_machine, manifest, secrets
from tests.units.resource_cases import CASES, SECRET_TEXT, applied
from units.converge import converge
from units.files import File, digest
from units.plan import plan


@pytest.mark.parametrize("name", CASES)
def test_on_an_empty_machine_it_is_missed_made_and_then_left_alone(name: str) -> None:
    case = CASES[name]
    machine = empty_machine()
    case.before(machine)
    assert case.resource.check(machine.host) is not None
    case.resource.apply(machine.host)
    assert case.resource.check(machine.host) is None


@pytest.mark.parametrize(("name", "drift"), [(name, drift) for name, case in CASES.items() for drift in case.drifts])
def test_every_drift_is_found_and_repaired(name: str, drift: str) -> None:
    case = CASES[name]
    machine = applied(case)
    case.drifts[drift](machine)
    assert case.resource.check(machine.host) is not None
    case.resource.apply(machine.host)
    assert case.resource.check(machine.host) is None


def test_every_kind_of_resource_that_a_plan_may_hold_has_a_case() -> None:
    covered = {type(case.resource) for case in CASES.values()}
    for role in ("control-plane", "node"):
        assert {type(resource) for resource in plan(manifest(role), FACTS)} <= covered


@pytest.mark.parametrize("name", CASES)
def test_checking_changes_nothing(name: str) -> None:
    case = CASES[name]
    for drift in (lambda _machine: None, *case.drifts.values()):
        machine = applied(case)
        drift(machine)
        assert changes_of(machine.host, case.resource.check) == []


def key_lines() -> list[str]:
    """Every line of base64 of every private key there is in these tests, and the secret text."""
    lines = [line for key in secrets().keys.values() for line in key.pem.decode().splitlines() if "-----" not in line]
    return [*lines, SECRET_TEXT]


@pytest.mark.parametrize("name", CASES)
def test_no_secret_shows_in_a_change_a_description_or_a_repr(name: str) -> None:
    case = CASES[name]
    shown = [repr(case.resource), repr(case.resource.describe()), str(case.resource)]
    for drift in (None, *case.drifts.values()):
        machine = applied(case)
        if drift:
            drift(machine)
        else:
            machine = empty_machine()
            case.before(machine)
        change = case.resource.check(machine.host)
        shown += [repr(change), change.diff if change else ""]
    for text in shown:
        assert "PRIVATE KEY" not in text
        assert not [line for line in key_lines() if line in text]


def test_a_whole_run_tells_no_secret() -> None:
    machine = empty_machine()
    report = converge(plan(manifest(), FACTS), machine.host)
    issued = [
        line
        for path, state in machine.files.entries.items()
        if path.endswith((".pem", ".key")) and state.content
        for line in state.content.decode().partition("-----BEGIN PRIVATE KEY-----")[2].splitlines()[1:-1]
    ]
    assert len(issued) > 20
    text = repr(report) + repr([resource.describe() for resource in plan(manifest(), FACTS)])
    assert not [line for line in [*issued, *key_lines()] if line in text]


def test_a_secret_is_shown_as_the_digests_of_what_is_there_and_what_will_be() -> None:
    file = File("/etc/secret", SECRET_TEXT, mode=0o600, secret=True)
    machine = empty_machine()
    there = b"\xff\xfe"  # no text in any encoding: the digest is that of the bytes
    machine.files.write("/etc/secret", there, mode=0o600, owner="root", group="root")
    change = file.check(machine.host)
    assert change is not None
    assert [digest(there), digest(SECRET_TEXT.encode())] == re.findall(r"sha256:([0-9a-f]{64})", change.diff)
