"""The story of a boot: told everywhere from the first second, and ended with the right exit code."""

from dataclasses import replace

import pytest

from agent.boot import boot
from agent.commands.boot import summary
from agent.trust import Condition
from tests.agent.boot_double import NodeDouble, machine_facts
from units.errors import Fatal, Invalid, Refused, Retryable


def test_a_boot_converges_and_says_what_it_did() -> None:
    node = NodeDouble()
    assert boot(node) == 0
    status = node.reporter.status
    assert (status.stage, status.serial, status.role, status.group) == ("ready", 7, "control-plane", "cp-a")
    assert {resource.status for resource in status.resources} <= {"changed", "unchanged"}
    assert "kubelet.service" in node.memory.systemd.active
    assert "serial 7 applied" in summary(status)
    assert node.committed == node.manifest


def test_a_second_boot_changes_nothing_and_says_so() -> None:
    node = NodeDouble()
    boot(node)
    before = dict(node.memory.files.entries)
    assert boot(node) == 0
    assert node.memory.files.entries == before
    assert {resource.status for resource in node.reporter.status.resources} == {"unchanged"}
    assert "nothing to change" in summary(node.reporter.status)


def test_the_status_leaves_the_machine_before_anything_is_verified() -> None:
    node = NodeDouble(fail_at="verified_release", error=Retryable("s3-unreachable", "no answer"))
    boot(node)
    assert node.published[0].stage == "booting"
    assert node.published[0].instance_id == "i-0123456789abcdef0"


@pytest.mark.parametrize(
    ("error", "exit_code", "stage"),
    [
        (Fatal("some-code", "no"), 1, "failed"),
        (Invalid("some-code", "no"), 2, "failed"),
        (Refused("some-code", "no", remedy="look"), 3, "refused"),
        (Retryable("some-code", "no"), 4, "retrying"),
    ],
)
@pytest.mark.parametrize("step", ["enrolment", "verified_release", "host"])
def test_every_failure_has_its_exit_code_its_stage_and_its_reason(
    step: str, error: Fatal, exit_code: int, stage: str
) -> None:
    node = NodeDouble(fail_at=step, error=error)
    assert boot(node) == exit_code
    status = node.reporter.status
    assert status.stage == stage
    assert [condition.code for condition in status.conditions] == ["some-code"]
    assert node.memory.files.entries == {}, "nothing may change before the manifest is proven and planned"
    assert node.committed is None
    if step != "enrolment":
        assert node.published[-1].stage == stage


def test_without_imds_nothing_is_changed_and_the_local_status_says_why() -> None:
    node = NodeDouble(fail_at="instance", error=Retryable("imds-unreachable", "no IMDS", remedy="enable it"))
    assert boot(node) == 4
    assert node.published == []
    assert node.written[-1].conditions[0].code == "imds-unreachable"
    assert "remedy: enable it" in summary(node.reporter.status)


def test_a_resource_that_fails_ends_the_run_and_the_rest_is_skipped() -> None:
    node = NodeDouble()

    def refuse(*_arguments: object, **_named: object) -> None:
        raise Retryable("etcd-volume-in-use", "still attached to i-2", remedy="wait")

    node.memory.volumes.attach = refuse  # type: ignore[method-assign,assignment]
    assert boot(node) == 4
    by_status: dict[str, list[str]] = {}
    for resource in node.reporter.status.resources:
        by_status.setdefault(resource.status, []).append(resource.key)
    assert by_status["failed"] == ["volume:main"]
    assert "unit:kubelet.service" in by_status["skipped"]
    assert node.reporter.status.conditions[0].code == "etcd-volume-in-use"
    assert node.committed is None


def test_a_degraded_trust_is_a_warning_and_the_node_still_comes_up() -> None:
    node = NodeDouble(condition=Condition.DEGRADED)
    assert boot(node) == 0
    (condition,) = node.reporter.status.conditions
    assert (condition.code, condition.severity) == ("TrustDegraded", "warning")
    assert node.reporter.status.trust == "TrustDegraded"


@pytest.mark.parametrize("ahead", [None, 5.5, -5.5])
def test_a_boot_waits_for_the_clock_but_not_for_ever(ahead: float | None) -> None:
    node = NodeDouble(facts=replace(machine_facts(), time_synchronised=False), ahead=ahead)
    assert boot(node) == 0
    assert node.memory.clock.waits.count("waiting for chrony to set the clock") == 30
    assert [condition.code for condition in node.reporter.status.conditions] == ["clock-not-synchronised"]


@pytest.mark.parametrize("ahead", [4.5, -4.5])
def test_a_clock_that_agrees_with_imds_is_not_waited_for(ahead: float) -> None:
    node = NodeDouble(facts=replace(machine_facts(), time_synchronised=False), ahead=ahead)
    assert boot(node) == 0
    assert "waiting for chrony to set the clock" not in node.memory.clock.waits
    assert node.reporter.status.conditions == ()


def test_cgroup_v1_and_an_unsynchronised_clock_are_said() -> None:
    node = NodeDouble(facts=replace(machine_facts(), cgroup_v2=False, time_synchronised=False))
    boot(node)
    assert {c.code for c in node.reporter.status.conditions} == {"cgroup-v1", "clock-not-synchronised"}


def test_a_condition_keeps_the_time_it_was_first_seen() -> None:
    node = NodeDouble(fail_at="enrolment", error=Retryable("some-code", "no"))
    boot(node)
    first = node.reporter.status.conditions[0].since
    node.memory.clock.at = node.memory.clock.at.replace(hour=5)
    boot(node)
    assert node.reporter.status.conditions[0].since == first
    node.fail_at = ""
    boot(node)
    assert node.reporter.status.conditions == ()


def test_a_store_that_refuses_the_status_does_not_stop_a_boot() -> None:
    node = NodeDouble()
    connect = node.connect

    def connect_to_a_store_that_refuses(settings: object, instance: object) -> None:
        connect(settings, instance)  # type: ignore[arg-type]

        def publish(_status: object) -> None:
            raise Retryable("s3-access-denied", "not allowed")

        node.reporter.publish = publish

    node.connect = connect_to_a_store_that_refuses  # type: ignore[method-assign,assignment]
    assert boot(node) == 0


def test_no_status_ever_holds_a_private_key() -> None:
    node = NodeDouble()
    boot(node)
    for status in (*node.written, *node.published):
        assert "PRIVATE KEY" not in status.model_dump_json()
