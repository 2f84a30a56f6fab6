"""What others see of a run while it is under way, and after it was cut off."""

from datetime import UTC, datetime

import pytest

from agent.boot import boot
from agent.run_state import LastRun
from agent.sync import due
from tests.agent.boot_double import NodeDouble
from units.errors import Retryable
from units.status import NodeStatus


class Killed(BaseException):
    """SIGKILL: nothing of the agent's runs after it."""


def codes(status: NodeStatus) -> list[str]:
    return [condition.code for condition in status.conditions]


def test_a_node_that_tries_again_goes_on_saying_why_until_the_new_run_knows_better() -> None:
    node = NodeDouble(fail_at="verified_release", error=Retryable("not-yet", "no"))
    boot(node)
    node.written.clear()
    boot(node)
    assert node.written
    assert {tuple(codes(status)) for status in node.written} == {("not-yet",)}
    node.fail_at = ""
    assert boot(node) == 0
    assert codes(node.written[-1]) == []


def test_a_reason_that_has_passed_gives_way_to_the_new_one() -> None:
    node = NodeDouble(fail_at="enrolment", error=Retryable("first", "no"))
    boot(node)
    node.error = Retryable("second", "no")
    boot(node)
    assert codes(node.reporter.status) == ["second"]


def test_a_whole_run_that_was_killed_is_done_again_by_the_next_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    node = NodeDouble()
    boot(node)
    assert node.reporter.status.converged

    def killed(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(node, "host", killed)
    with pytest.raises(Killed):
        boot(node)
    left = node.written[-1]
    assert left.stage == "ready"
    last = LastRun.of(left.model_dump(mode="json"))
    assert "cut off" in due(last, datetime.now(UTC))
