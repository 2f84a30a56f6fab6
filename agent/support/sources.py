"""What goes into a bundle: a fixed list, from which whatever holds a secret is missing.

Not in it, and nothing here may add it: /run/bootwright/secrets, user-data, /etc/bootwright/secrets.key, and of *.pem
anything but certificates.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.certificates import take_inventory
from agent.commands.certs import document as certificates_document
from agent.commands.doctor import document as doctor_document
from agent.doctor.case import Case, open_case
from agent.doctor.checks import diagnose
from agent.doctor.patient import Patient
from agent.durable import read_bounded
from agent.run_state import STATUS
from agent.support.scrub import public_part
from units.errors import BootwrightError
from units.facts import sample_facts
from units.generations import CURRENT, JOURNAL, QUARANTINE
from units.paths import KUBELET, KUBELET_KUBECONFIG, KUBERNETES
from units.plan import plan

LINES = 2000  # of each unit's journal: some hours of a kubelet that complains
_MOST_BYTES = 1_000_000  # of each source
_SECONDS = 20.0
_DIFF_SECONDS = 90.0
_UNITS = (
    "bootwright-boot.service",
    "bootwright-sync.service",
    "bootwright-issuer.service",
    "bootwright-etcd-main.service",
    "bootwright-etcd-events.service",
    "kubelet.service",
    "containerd.service",
    "chrony.service",
    "cloud-final.service",
)
_FILES = (
    str(STATUS),
    CURRENT,
    JOURNAL,
    QUARANTINE,
    "/etc/bootwright/agent.json",
    "/opt/bootwright/image.json",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/containerd/config.toml",
    f"{KUBELET}/config.yaml",
    KUBELET_KUBECONFIG,
    "/proc/self/mountinfo",
    "/proc/cmdline",
    "/proc/meminfo",
    "/etc/os-release",
)
_FOLDERS = (f"{KUBERNETES}/manifests", "/etc/cni/net.d", "/etc/sysctl.d", "/etc/modules-load.d")
_COMMANDS = {
    "units.txt": [
        "systemctl",
        "list-units",
        "--all",
        "--no-pager",
        "--plain",
        "bootwright-*",
        "kubelet*",
        "containerd*",
    ],
    "failed-units.txt": ["systemctl", "--failed", "--no-pager", "--plain"],
    "dmesg.txt": ["dmesg", "--ctime"],
    "disk.txt": ["df", "-h"],
    "inodes.txt": ["df", "-i"],
    "disks.txt": ["lsblk", "--fs"],
    "addresses.txt": ["ip", "address"],
    "routes.txt": ["ip", "route"],
    "sockets.txt": ["ss", "-ltnp"],
    "chrony.txt": ["chronyc", "-n", "tracking"],
    "pods.txt": ["crictl", "pods"],
    "containers.txt": ["crictl", "ps", "--all"],
    "kernel.txt": ["uname", "-a"],
    "kubelet-version.txt": ["/usr/local/bin/kubelet", "--version"],
    "containerd-version.txt": ["containerd", "--version"],
    "etcd-version.txt": ["etcd", "--version"],
}


@dataclass(frozen=True, slots=True)
class Source:
    """`gather` may fail: the bundle then says so in its place. What it returns is scrubbed by whoever takes it."""

    name: str
    gather: Callable[[], str]


def sources(patient: Patient) -> Iterator[Source]:
    case = open_case(patient)
    yield Source("doctor.json", lambda: json.dumps(doctor_document(diagnose(patient)), indent=1))
    yield Source("certs.json", lambda: _certificates(case))
    yield Source("plan.txt", lambda: _plan(case))
    yield Source("diff.txt", lambda: _said(patient, [sys.executable, "-P", "-m", "agent", "diff"], _DIFF_SECONDS))
    for name, command in _COMMANDS.items():
        yield Source(f"commands/{name}", _command(patient, command))
    for unit in _UNITS:
        options = ["--boot", "--quiet", "--no-pager", "--output=short-iso", f"--lines={LINES}"]
        yield Source(f"journal/{unit}.txt", _command(patient, ["journalctl", *options, f"--unit={unit}"]))
    for path in _files(patient):
        yield Source(f"files{path}", _file(patient, path))
    yield from _pems(patient)


def _files(patient: Patient) -> Iterator[str]:
    yield from _FILES
    for folder in _FOLDERS:
        found = patient.path(folder)
        if found.is_dir():
            yield from (f"{folder}/{path.name}" for path in sorted(found.iterdir()) if _is_plain(path))


def _is_plain(path: Path) -> bool:
    """Links could lead anywhere."""
    return path.is_file() and not path.is_symlink()


def _pems(patient: Patient) -> Iterator[Source]:
    folder = patient.path(KUBERNETES)
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.suffix in (".pem", ".crt") and _is_plain(path):
            name = path.relative_to(patient.root)
            yield Source(f"files/{name}", _public(path))


def _file(patient: Patient, path: str) -> Callable[[], str]:
    def gather() -> str:
        data = read_bounded(patient.path(path), limit=_MOST_BYTES)
        return "(there is no such file)\n" if data is None else _text(data)

    return gather


def _public(path: Path) -> Callable[[], str]:
    def gather() -> str:
        public = public_part(read_bounded(path, limit=_MOST_BYTES) or b"").decode("ascii", errors="replace")
        return public or "(no certificate in it)\n"

    return gather


def _command(patient: Patient, command: list[str]) -> Callable[[], str]:
    return lambda: _said(patient, command, _SECONDS)


def _said(patient: Patient, command: list[str], seconds: float) -> str:
    ended = patient.run(command, timeout=seconds, allowed=None)
    trouble = f"\n(exit code {ended.exit_code})\n{ended.stderr.decode(errors='replace')}" if ended.exit_code else ""
    return _text(ended.stdout[-_MOST_BYTES:]) + trouble


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _certificates(case: Case) -> str:
    now = case.patient.now()
    inventory = take_inventory(now, case.instance_id, str(case.patient.path(KUBERNETES)))
    return json.dumps(certificates_document(inventory, now), indent=1)


def _plan(case: Case) -> str:
    """Every resource of what this machine runs, in words; of extra files only the names: people write them."""
    if case.manifest is None:
        return "(no manifest is known on this machine)\n"
    zones = case.manifest.group.zones
    facts = sample_facts(zone=case.status.zone if case.status else zones[0], region=case.manifest.cluster.region)
    try:
        resources = plan(case.manifest, facts)
    except BootwrightError as error:
        return f"(the manifest cannot be planned: {error})\n"
    parts = []
    for resource in resources:
        told = resource.describe()
        lines = () if told.key.startswith("extra-file:") else told.lines
        parts += [told.key, *(f"    {line}" for line in lines)]
    return "\n".join(parts) + "\n"
