"""What the machine is: memory, processors, kernel, the versions of what the image brings."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.linux.run import Run, run
from units.errors import Fatal
from units.facts import Version

IMAGE = "opt/bootwright/image.json"  # written when the image is baked: {"containerd": "2.3.4", "etcd": "3.6.14", ...}
NOT_INSTALLED: Version = (0, 0)

_TIMEOUT = 20.0
_VERSION = re.compile(r"\bv?(\d+)\.(\d+)\.\d+")
_ARCHITECTURES: dict[str, Literal["amd64", "arm64"]] = {"x86_64": "amd64", "aarch64": "arm64"}
_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised


@dataclass(frozen=True, slots=True)
class MachineFacts:
    memory_bytes: int
    cpus: int
    architecture: Literal["amd64", "arm64"]
    kernel: str
    containerd_version: Version  # (0, 0) where it is not installed
    etcd_version: Version
    resolved_active: bool  # /etc/resolv.conf is systemd-resolved's stub, which pods cannot reach
    cgroup_v2: bool  # kubelet 1.35 and later starts on nothing else
    time_synchronised: bool  # a wrong clock breaks certificates and every signature to AWS


def gather_machine(root: str | Path = "/", run: Run = run) -> MachineFacts:
    """Reads /proc, /sys and the image's record below `root`; starts a process only where the record is missing."""
    base = Path(root)
    versions = _baked_versions(base)
    return MachineFacts(
        memory_bytes=_memory_bytes(base),
        cpus=_cpus(base),
        architecture=_architecture(),
        kernel=(base / "proc/sys/kernel/osrelease").read_text(encoding="ascii").strip(),
        containerd_version=versions.get("containerd") or _asked_version("containerd", run),
        etcd_version=versions.get("etcd") or _asked_version("etcd", run),
        resolved_active=_resolved_active(base),
        cgroup_v2=(base / "sys/fs/cgroup/cgroup.controllers").exists(),
        time_synchronised=time_synchronised_now(),
    )


def parse_version(text: str) -> Version | None:
    """The first three-part version in a text, as (major, minor): `containerd ... v2.1.4 75cb2b7` gives (2, 1)."""
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2])) if found else None


def _baked_versions(base: Path) -> dict[str, Version]:
    path = base / IMAGE
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        texts = {name: text for name, text in record.items() if isinstance(text, str)}
        return {name: version for name, text in texts.items() if (version := parse_version(text))}
    except (ValueError, AttributeError) as error:
        raise Fatal(
            "image-record-invalid", f"{path} is no JSON object: {error}", remedy="bake the image again"
        ) from error


def _asked_version(program: str, run: Run) -> Version:
    try:
        text = run([program, "--version"], timeout=_TIMEOUT).text
    except Fatal as failure:
        if failure.code == "tool-missing":
            return NOT_INSTALLED
        raise
    version = parse_version(text)
    if version is None:
        raise Fatal("tool-failed", f"`{program} --version` names no version: {text[:200]!r}")
    return version


def _memory_bytes(base: Path) -> int:
    for line in (base / "proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    raise Fatal("machine-unreadable", "/proc/meminfo has no MemTotal")


def _cpus(base: Path) -> int:
    """From a list such as `0-3,8`; a machine without that file (User-Mode Linux) has what this process may use."""
    online = base / "sys/devices/system/cpu/online"
    if not online.exists():
        return len(os.sched_getaffinity(0))
    ranges = [part.split("-") for part in online.read_text(encoding="ascii").strip().split(",")]
    return sum(int(part[-1]) - int(part[0]) + 1 for part in ranges)


def _architecture() -> Literal["amd64", "arm64"]:
    machine = os.uname().machine
    if machine not in _ARCHITECTURES:
        raise Fatal("architecture-unsupported", f"this machine is {machine}; supported are {', '.join(_ARCHITECTURES)}")
    return _ARCHITECTURES[machine]


def _resolved_active(base: Path) -> bool:
    path = base / "etc/resolv.conf"
    try:
        return "127.0.0.53" in path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return False


def time_synchronised_now() -> bool:
    """Asks the kernel, as `timedatectl` does: whoever keeps the time (chrony, timesyncd) tells it."""
    import ctypes

    only_read = ctypes.create_string_buffer(512)  # struct timex, 208 bytes; modes = 0 changes nothing
    return int(ctypes.CDLL(None).adjtimex(only_read)) != _TIME_ERROR
