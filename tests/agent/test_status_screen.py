"""The screen that a person reads at 3 am: what is wrong comes with what to do."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from agent.certificates import Inventory
from agent.certs_screen import print_certificates
from agent.doctor.finding import Examined, Finding
from agent.doctor.screen import print_diagnosis
from agent.etcd.screen import print_etcd
from agent.status_screen import print_screen
from agent.timeline_screen import print_timeline
from units.status import (
    BootTimeline,
    CertificateState,
    Condition,
    EtcdMemberState,
    EtcdState,
    NodeStatus,
    Phase,
    ResourceState,
    Span,
)

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


HOSTILE = "[/var/lib/etcd] [fd00::1] [red]x[/red] :boom: \x1b[2Jend\\\\"
SHOWN = HOSTILE.replace("\x1b", "\\x1b")


def hostile(model: type[BaseModel], **fields: Any) -> Any:
    """Every plain text that the model has room for says something nasty."""
    for name, field in model.model_fields.items():
        if name not in fields and field.annotation is str:
            fields[name] = HOSTILE
    return model.model_construct(**fields)


def test_whatever_a_status_says_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    status = hostile(
        NodeStatus,
        drift=(HOSTILE,),
        metadata={HOSTILE: 1},
        versions={HOSTILE: HOSTILE},
        conditions=(hostile(Condition),),
        phases=(hostile(Phase, seconds=1.0),),
        resources=(hostile(ResourceState), hostile(ResourceState, status="failed")),
        certificates=(hostile(CertificateState, not_after="2027-06-01T00:00:00Z", days_left=364, life_left=0.9),),
        choice="stable",
        serial=7,
    )
    live = {
        **LIVE,
        "machine": {**LIVE["machine"], "disks_used_percent": {HOSTILE: 10.0}},
        "units": {HOSTILE: HOSTILE},
        "health": {HOSTILE: HOSTILE},
        "etcd": [{**LIVE["etcd"][0], "name": HOSTILE, "ready": False, "detail": HOSTILE, "leader": HOSTILE}],
    }
    print_screen(status, live, NOW)
    out = unfolded(capsys)
    assert "\x1b" not in out, "nothing that a status says reaches the terminal as more than text"
    for line in (
        f"waiting: {SHOWN}",
        f"drifted: {SHOWN}",
        f"trust {SHOWN}",
        f"failed: {SHOWN}",
        f"-> {SHOWN}",
        f"of group {SHOWN}",
        f"{SHOWN} 10 % full",
        f"etcd {SHOWN}",
        f"phases: {SHOWN}",
    ):
        assert unfolded_text(line) in out, line


def test_a_wait_for_a_path_in_brackets_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = "waiting for the volume of etcd main: volume-held: held by i-2 at [/var/lib] and [fd00::1]"
    assert f"waiting: {waiting}" in shown(capsys, stage="booting", waiting_for=waiting)


def test_every_screen_shows_hostile_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_etcd(
        hostile(EtcdState, ready=False, members=(hostile(EtcdMemberState),), alarms=(HOSTILE,), backup="", verified=""),
        (hostile(Condition),),
        NOW,
    )
    out = unfolded(capsys)
    assert out.count(unfolded_text(SHOWN)) >= 9
    leaf = hostile(CertificateState, not_after="2027-06-01T00:00:00Z", days_left=3, life_left=0.9, not_before="")
    leaf = leaf.model_copy(update={"renews": "", "alternative_names": (f"DNS:{HOSTILE}",)})
    authority = leaf.model_copy(update={"authority": True})
    print_certificates(Inventory((leaf, authority), ((HOSTILE, HOSTILE),)), NOW)
    out += unfolded(capsys)
    assert unfolded_text(f"{SHOWN} cannot be read: {SHOWN}") in out
    span = hostile(Span, begins=0.0, ends=1.0)
    print_timeline(hostile(BootTimeline, spans=(span, span), ready=None))
    out += unfolded(capsys)
    finding = Finding("fail", found=HOSTILE, code=HOSTILE, fix=HOSTILE)
    print_diagnosis((Examined(HOSTILE, finding, 0.1),))
    out += unfolded(capsys)
    assert unfolded_text(f"{SHOWN}: {SHOWN}") in out
    assert "\x1b" not in out


def unfolded(capsys: pytest.CaptureFixture[str]) -> str:
    return unfolded_text(capsys.readouterr().out)


def unfolded_text(text: str) -> str:
    """Tables fold long cells wherever they like."""
    return "".join(text.split())
