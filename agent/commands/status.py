"""`agent status`: this node on one screen, read in ten seconds."""

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from agent.certificates import list_certificates
from agent.etcd.health import EtcdHealth, etcd_health
from agent.linux.load import machine_load
from agent.linux.probes import LoopbackProbes
from agent.linux.systemd import LinuxSystemd
from agent.run_state import STATUS
from units.errors import BootwrightError, Retryable
from units.status import STAGE_OF_EXIT, NodeStatus, decode_status

UNITS = ("bootwright-boot.service", "bootwright-sync.timer", "containerd.service", "kubelet.service")
ETCD_PORTS = {"main": (2379, 2381), "events": (2382, 2384)}
PROBES = {
    "kubelet": "http://127.0.0.1:10248/healthz",
    "kube-apiserver": "https://127.0.0.1:6443/readyz",
    "kube-controller-manager": "https://127.0.0.1:10257/healthz",
    "kube-scheduler": "https://127.0.0.1:10259/readyz",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="everything, for scripts")
    parser.add_argument(
        "--timeline",
        action="store_true",
        help="this boot, phase by phase, in seconds after the kernel started; with --json as data",
    )


def run(arguments: argparse.Namespace) -> int:
    """The exit code is the node's: 0 ready, 4 retrying, 3 refused, 1 failed."""
    if not STATUS.exists():
        raise Retryable(
            "not-booted",
            "`agent boot` has not run since this machine started",
            remedy="systemctl status bootwright-boot; journalctl -u bootwright-boot",
        )
    status = decode_status(STATUS.read_bytes())
    if arguments.timeline:
        return _show_timeline(status, as_json=arguments.json)
    now = datetime.now(UTC)
    status = status.model_copy(update={"certificates": list_certificates(now, status.instance_id)})
    live = look(status)
    if arguments.json:
        sys.stdout.write(json.dumps({**status.model_dump(mode="json"), **live}, indent=1) + "\n")
    else:
        from agent.status_screen import print_screen

        print_screen(status, live, now)
    codes = {stage: code for code, stage in STAGE_OF_EXIT.items() if code != 2}
    return codes.get(status.stage, 4)


def _show_timeline(status: NodeStatus, *, as_json: bool) -> int:
    from agent.boot_timeline import stamps_if_any
    from units.timeline import with_later_stamps

    if status.timeline is None:
        raise Retryable(
            "no-timeline",
            "no run of `agent boot` has ended since this machine started",
            remedy="agent status; it is written when the first run ends",
        )
    timeline = with_later_stamps(status.timeline, stamps_if_any())
    if as_json:
        sys.stdout.write(timeline.model_dump_json(indent=1) + "\n")
    else:
        from agent.timeline_screen import print_timeline

        print_timeline(timeline)
    return 0


def look(status: NodeStatus) -> dict[str, Any]:
    """What is true right now, beside what the last run found."""
    etcd_units = {f"bootwright-etcd-{name}.service": name for name in ETCD_PORTS if _planned(status, name)}
    probes = LoopbackProbes()
    roles = PROBES if status.role == "control-plane" else {"kubelet": PROBES["kubelet"]}
    return {
        "machine": machine_load().as_document(),
        "units": {unit: _state(unit) for unit in (*UNITS, *etcd_units)},
        "etcd": [_etcd(name, probes) for name in etcd_units.values()],
        "health": {name: _said(probes, url) for name, url in roles.items()},
    }


def _planned(status: NodeStatus, etcd: str) -> bool:
    return any(resource.key == f"unit:bootwright-etcd-{etcd}.service" for resource in status.resources)


def _state(unit: str) -> str:
    try:
        return LinuxSystemd().state(unit).active
    except BootwrightError as error:
        return f"unknown: {error.code}"


def _etcd(name: str, probes: LoopbackProbes) -> dict[str, Any]:
    client_port, metrics_port = ETCD_PORTS[name]
    health: EtcdHealth = etcd_health(name, client_port=client_port, metrics_port=metrics_port, probes=probes)
    return {field: getattr(health, field) for field in EtcdHealth.__slots__}


def _said(probes: LoopbackProbes, url: str) -> str:
    answer = probes.get(url)
    if answer is None:
        return "nothing answers"
    return "ok" if answer.status == 200 else f"HTTP {answer.status}: {answer.body.strip()[:120]}"
