"""What others see of a run while it is under way, and after it was cut off."""

from datetime import UTC, datetime

import pytest

from agent.boot import boot
from agent.run_state import LastRun
from agent.sync import due
from tests.agent.boot_double import NodeDouble
from units.errors import Retryable
from units.status import Condition, NodeStatus


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


def told_by_the_rounds(node: NodeDouble, *codes: str) -> None:
    """As `agent.etcd.node.EtcdNode.publish` leaves the status between two runs."""
    told = (Condition(code=code, message=code, since="2026-05-31T00:00:00Z", severity="warning") for code in codes)
    status = node.reporter.status
    node.reporter.status = status.model_copy(update={"conditions": (*status.conditions, *told)})


def test_what_the_rounds_of_etcd_found_outlives_a_whole_run_which_finds_nothing_of_the_kind() -> None:
    node = NodeDouble()
    boot(node)
    told_by_the_rounds(node, "etcd-corrupt", "etcd-no-space", "of-an-earlier-run")
    assert boot(node) == 0
    assert [(one.code, one.since) for one in node.reporter.status.conditions] == [
        ("etcd-corrupt", "2026-05-31T00:00:00Z"),
        ("etcd-no-space", "2026-05-31T00:00:00Z"),
    ]


def test_a_run_that_read_from_etcd_with_a_quorum_ends_the_word_of_a_lost_one_and_a_failed_run_does_not() -> None:
    node = NodeDouble(fail_at="verified_release", error=Retryable("not-yet", "no"))
    told_by_the_rounds(node, "etcd-no-quorum")
    boot(node)
    assert codes(node.reporter.status) == ["not-yet", "etcd-no-quorum"], "why it fails comes first"
    node.fail_at = ""
    assert boot(node) == 0
    assert codes(node.reporter.status) == []


def test_a_warning_of_a_poll_leaves_what_the_rounds_of_etcd_found_since_the_whole_run() -> None:
    node = NodeDouble()
    boot(node)
    told_by_the_rounds(node, "etcd-corrupt")
    corrupt = node.reporter.status.conditions[0].model_copy(update={"since": "2099-01-01T00:00:00Z"})
    node.reporter.status = node.reporter.status.model_copy(update={"conditions": (corrupt,)})
    node.reporter.warn(Retryable("s3-unreachable", "no answer"))
    assert codes(node.reporter.status) == ["etcd-corrupt", "s3-unreachable"]
