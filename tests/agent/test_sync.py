"""When a minute's sync is a whole run, and when it is two small requests."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.boot import boot
from agent.certificates import list_certificates
from agent.run_state import LastRun, read_last_run, write_status
from agent.sync import NOTHING_NEW, due, sync
from pki.authority import Authority
from pki.certificate import combine
from pki.keys import load_public_key, make_key, public_key_pem
from pki.request import CertificateRequest
from tests.agent.boot_double import NodeDouble
from units.errors import Retryable

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def last_run(**changes: object) -> LastRun:
    fields = {"stage": "ready", "role": "node", "private_ip": "10.0.0.1", "renewals": ()}
    return LastRun(**{**fields, "converged": "2026-06-01T11:59:00Z", **changes})  # type: ignore[arg-type]


def test_a_ready_node_that_was_looked_at_just_now_needs_nothing() -> None:
    assert due(last_run(), NOW) == ""


@pytest.mark.parametrize("stage", ["booting", "retrying", "refused", "failed"])
def test_a_node_that_is_not_ready_is_tried_again(stage: str) -> None:
    assert stage in due(last_run(stage=stage), NOW)


@pytest.mark.parametrize("converged", ["2026-06-01T10:59:00Z", ""])
def test_the_whole_plan_is_checked_once_an_hour(converged: str) -> None:
    assert "hour" in due(last_run(converged=converged), NOW)


@pytest.mark.parametrize(("renews", "is_due"), [("2026-06-01T11:00:00Z", True), ("2026-06-01T13:00:00Z", False)])
def test_a_certificate_past_its_time_makes_a_whole_run(renews: str, *, is_due: bool) -> None:
    assert ("client.pem" in due(last_run(renewals=(("/pki/client.pem", renews),)), NOW)) is is_due


def test_what_a_boot_wrote_is_what_the_next_sync_reads(tmp_path: Path) -> None:
    node = NodeDouble()
    boot(node)
    write_status(node.reporter.status, tmp_path / "status.json")
    found = read_last_run(tmp_path / "status.json")
    assert (found.stage, found.role, found.private_ip) == ("ready", "control-plane", "10.99.1.4")
    assert due(found, node.memory.clock.now()) == ""
    assert due(found, node.memory.clock.now() + timedelta(hours=2)) != ""


def test_before_the_first_boot_a_sync_says_so(tmp_path: Path) -> None:
    with pytest.raises(Retryable) as caught:
        read_last_run(tmp_path / "status.json")
    assert caught.value.code == "not-booted"


def test_nothing_new_makes_no_node_at_all() -> None:
    def node() -> NodeDouble:
        raise AssertionError("a poll without news must not pay for the adapters")

    fresh = last_run(converged=datetime.now(UTC).isoformat())
    assert sync(fresh, lambda: False, node) == (0, NOTHING_NEW)  # type: ignore[arg-type]


def test_volumes_are_looked_after_first_on_a_control_plane_and_an_enlarged_one_is_a_whole_boot() -> None:
    node = NodeDouble()
    fresh = last_run(converged=datetime.now(UTC).isoformat(), role="control-plane")

    def unreachable() -> bool:
        raise AssertionError("the store is not needed to know it")

    exit_code, done = sync(fresh, unreachable, lambda: node, volumes=lambda: "the volume of etcd main has grown")  # type: ignore[arg-type,return-value]
    assert (exit_code, done) == (0, "the volume of etcd main has grown")
    assert "kubelet.service" in node.memory.systemd.active


def test_workers_have_no_volumes_to_look_after() -> None:
    def looked() -> str:
        raise AssertionError("a worker has none")

    fresh = last_run(converged=datetime.now(UTC).isoformat())
    assert sync(fresh, lambda: False, NodeDouble, volumes=looked) == (0, NOTHING_NEW)  # type: ignore[arg-type,return-value]


def test_something_new_is_a_whole_boot() -> None:
    node = NodeDouble()
    fresh = last_run(converged=datetime.now(UTC).isoformat())
    exit_code, done = sync(fresh, lambda: True, lambda: node)  # type: ignore[arg-type,return-value]
    assert (exit_code, done) == (0, "something new was published")
    assert "kubelet.service" in node.memory.systemd.active


def test_the_list_of_certificates_leaves_unreadable_files_to_the_plan(tmp_path: Path) -> None:
    authority = Authority.create("kubernetes", NOW)
    key = make_key()
    request = CertificateRequest(profile="kube-scheduler")
    pem = combine(authority.issue(request, load_public_key(public_key_pem(key)), NOW), key)
    (tmp_path / "client.pem").write_bytes(pem)
    (tmp_path / "half.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nMII")
    (found,) = list_certificates(NOW, "i-1", str(tmp_path))
    assert (found.subject, found.days_left) == ("system:kube-scheduler", 365)
    assert found.renews < found.not_after
