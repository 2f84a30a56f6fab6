"""The screen that a person reads at 3 am: what is wrong comes with what to do."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.status_screen import print_screen
from units.status import NodeStatus

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LIVE: dict[str, Any] = {
    "machine": {
        "memory_used_bytes": 1024**3,
        "memory_bytes": 4 * 1024**3,
        "load_1_minute": 0.5,
        "cpus": 2,
        "disks_used_percent": {"/": 91.0},
    },
    "units": {"kubelet.service": "active", "containerd.service": "failed"},
    "health": {"kubelet": "ok"},
    "etcd": [
        {
            "name": "main",
            "ready": True,
            "detail": "",
            "version": "3.5.16",
            "leader": "a",
            "members": 1,
            "database_bytes": 2048,
        }
    ],
}


def shown(capsys: pytest.CaptureFixture[str], **fields: Any) -> str:
    base = {"instance_id": "i-1", "group": "cp-a", "cluster": "prod", "role": "control-plane", "serial": 7}
    print_screen(NodeStatus.model_validate({**base, "updated": "2026-06-01T11:59:00Z", **fields}), LIVE, NOW)
    return capsys.readouterr().out


def test_a_ready_node_says_so_first(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, stage="ready", resources=[{"key": "file:/a", "status": "unchanged"}])
    assert out.startswith("READY")
    assert "serial 7" in out
    assert "1 unchanged" in out
    assert "memory 1024 of 4096 MiB" in out
    assert "/ 91 % full" in out
    assert "leader a, 1 members, 2 KiB, 3.5.16" in out


def test_an_error_comes_with_its_age_and_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    condition = {"code": "etcd-volume-in-use", "message": "held by i-2 [stopping]", "since": "2026-06-01T11:00:00Z"}
    out = shown(capsys, stage="retrying", conditions=[{**condition, "remedy": "wait for it"}])
    assert "etcd-volume-in-use since 1 h ago" in out
    assert "held by i-2 [stopping]" in out, "brackets in a message are text, not markup"
    assert "-> wait for it" in out


def test_a_failed_resource_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    resources = [{"key": "volume:main", "status": "failed"}, {"key": "unit:kubelet.service", "status": "skipped"}]
    out = shown(capsys, stage="failed", resources=resources)
    assert "failed: volume:main" in out


def test_certificates_show_the_days_left(capsys: pytest.CaptureFixture[str]) -> None:
    certificate = {
        "path": "/etc/kubernetes/pki/apiserver/server.pem",
        "subject": "kube-apiserver",
        "issuer": "kubernetes-ca",
        "not_after": "2027-06-01T00:00:00Z",
        "days_left": 364,
        "life_left": 0.99,
        "renews": "2027-01-01T00:00:00Z",
    }
    out = shown(capsys, stage="ready", certificates=[certificate])
    assert "apiserver/server.pem" in out
    assert "364 d" in out


def certificate(days_left: int, *, authority: bool = False) -> dict[str, Any]:
    """Of a hundred days; an authority of ten years."""
    end = NOW + timedelta(days=days_left)
    return {
        "path": "/etc/kubernetes/pki/ca/kubernetes.crt" if authority else "/etc/kubernetes/pki/kubelet/client.pem",
        "subject": "kubernetes-ca" if authority else "system:node:a",
        "issuer": "kubernetes-ca",
        "not_before": (end - timedelta(days=3650 if authority else 100)).isoformat(),
        "not_after": end.isoformat(),
        "days_left": 99,
        "life_left": 0.99,
        "renews": "",
        "authority": authority,
    }


@pytest.mark.parametrize(
    ("days_left", "colour", "said"),
    [(30, "32", ""), (24, "33", "client.pem expires in 24 d"), (-2, "31", "client.pem has expired 2 d ago")],
)
def test_a_leaf_that_ends_soon_is_yellow_and_an_expired_one_red_with_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, days_left: int, colour: str, said: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = shown(capsys, stage="ready", certificates=[certificate(days_left)])
    assert f"\x1b[{colour}m{days_left} d" in out
    assert said in out
    assert (f"\x1b[1;{colour}mkubelet/client.pem" in out) is bool(said)
    assert ("-> agent sync" in out) is bool(said)


def test_an_authority_in_its_last_year_says_that_it_must_be_rotated(capsys: pytest.CaptureFixture[str]) -> None:
    assert "kubernetes-ca" not in shown(capsys, stage="ready", certificates=[certificate(1000, authority=True)])
    out = shown(capsys, stage="ready", certificates=[certificate(300, authority=True)])
    assert "ca/kubernetes.crt (kubernetes-ca) expires in 300 d" in out
    assert "-> coordinator trust rotate ca" in out


def test_it_says_which_manifest_runs_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, stage="ready", manifest="ab" * 32, choice="candidate", why="wave 1 [of 5] is open")
    assert "manifest abababababab (candidate): wave 1 [of 5] is open" in out
    assert "drifted" not in out
    assert "drifted: file:/etc/motd" in shown(capsys, stage="ready", drift=["file:/etc/motd"])
