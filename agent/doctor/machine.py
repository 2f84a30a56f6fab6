"""The machine itself: space, cgroups, the kernel's settings, and ports that somebody else has."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from agent.doctor.case import Case
from agent.doctor.finding import Finding, fail, ok, skipped, warn, worst
from agent.doctor.listeners import Listener
from agent.linux.kernel import LinuxKernel
from agent.linux.mounts import parse_mountinfo
from units.services.base import MODULES, SYSCTLS

# kubelet evicts below 10 % of space and 5 % of inodes (units.services.kubelet).
_LOW_SPACE, _LOW_INODES = 0.10, 0.05
_LEAST_BYTES = 16 * 1024 * 1024  # a status, a manifest and a renewal fit
_PLACES = (
    "/",
    "/var",
    "/var/lib/bootwright",
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/etcd/main",
    "/var/lib/etcd/events",
    "/run",
)


@dataclass(frozen=True, slots=True)
class Space:
    """Of one file system."""

    place: str
    free_bytes: int
    total_bytes: int
    free_inodes: int
    total_inodes: int  # 0 where the file system counts none
    read_only: bool = False


def disk(case: Case) -> Finding:
    """Each file system once, by the first of its places."""
    spaces: dict[int, Space] = {}
    for place in _PLACES:
        path = case.patient.path(place)
        if path.is_dir():
            found = os.statvfs(path)
            spaces.setdefault(
                path.stat().st_dev,
                Space(
                    place=place,
                    free_bytes=found.f_bavail * found.f_frsize,
                    total_bytes=found.f_blocks * found.f_frsize,
                    free_inodes=found.f_favail,
                    total_inodes=found.f_files,
                    read_only=bool(found.f_flag & os.ST_RDONLY),
                ),
            )
    return worst([judge_space(space) for space in spaces.values()])


def judge_space(space: Space) -> Finding:
    fix = f"df -h {space.place}; df -i {space.place}; du -xhd2 {space.place} | sort -h | tail"
    if space.read_only:
        return fail(f"{space.place} is read-only", "dmesg | grep -i error; the disk may be failing", "disk-read-only")
    if space.free_bytes < min(_LEAST_BYTES, space.total_bytes // 20):
        return fail(f"{space.place} is full: {_mebibytes(space.free_bytes)} free", fix, "disk-full")
    if space.total_inodes and space.free_inodes < max(64, space.total_inodes // 1000):
        return fail(f"{space.place} has {space.free_inodes} inodes left", fix, "disk-full")
    if space.free_bytes < space.total_bytes * _LOW_SPACE:
        return warn(f"{space.place} has {_mebibytes(space.free_bytes)} left: kubelet evicts pods", fix, "disk-low")
    if space.total_inodes and space.free_inodes < space.total_inodes * _LOW_INODES:
        return warn(f"{space.place} has {space.free_inodes} inodes left: kubelet evicts pods", fix, "disk-low")
    return ok(f"{space.place} {_mebibytes(space.free_bytes)} free")


def _mebibytes(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB" if size >= 1024**3 else f"{size // 1024**2} MiB"


def cgroup(case: Case) -> Finding:
    if case.patient.path("/sys/fs/cgroup/cgroup.controllers").exists():
        return ok("version 2")
    fix = "boot with systemd.unified_cgroup_hierarchy=1, or use an image of this decade"
    return fail("cgroup v2 is not mounted; kubelet 1.35 and later refuses to start", fix, "cgroup-v1")


def kernel(case: Case) -> Finding:
    """Before the first plan nothing is set yet: then only what this kernel cannot do at all is a failure."""
    machine = LinuxKernel(case.patient.root, case.patient.run)
    converged = bool(case.status and case.status.converged)
    modules = [_module(case, machine, name, converged=converged) for name in MODULES]
    return worst([*modules, *(_sysctl(machine, name, value, converged) for name, value in SYSCTLS.items())])


def _module(case: Case, machine: LinuxKernel, name: str, *, converged: bool) -> Finding:
    if machine.module_loaded(name):
        return ok(f"{name} loaded")
    found, fix = f"the kernel module {name} is not loaded", f"modprobe {name}; agent boot"
    return fail(found, fix, "module-missing") if converged or _cannot_load(case, name) else skipped(found)


def _cannot_load(case: Case, name: str) -> bool:
    """Whether this kernel brings it at all: a dry run loads nothing."""
    return case.patient.run(["modprobe", "--dry-run", "--", name], timeout=5, allowed=None).exit_code != 0


def _sysctl(machine: LinuxKernel, name: str, value: str, converged: bool) -> Finding:  # noqa: FBT001  a fact, not a mode
    found = machine.sysctl(name)
    if found == value:
        return ok(f"{name} = {value}")
    if found is None:
        said = f"this kernel has no sysctl {name}"
        fix = "modprobe br_netfilter" if ".bridge." in name else "use an image whose kernel has it"
        return fail(said, fix, "sysctl-missing") if converged or ".bridge." not in name else skipped(said)
    if not converged:
        return skipped(f"{name} is {found}, not set yet")
    return fail(f"{name} is {found}; kubelet needs {value}", f"sysctl -w {name}={value}; agent boot", "sysctl-wrong")


@dataclass(frozen=True, slots=True)
class Port:
    number: int
    programs: tuple[str, ...]  # who may listen there, as the kernel names processes: 15 characters


def ports(case: Case) -> Finding:
    return judge_ports(expected_ports(case), case.patient.listeners())


def expected_ports(case: Case) -> tuple[Port, ...]:
    """What this role's programs listen on; the control plane's only where the manifest says that it is one."""
    found = [Port(10248, ("kubelet",)), Port(10250, ("kubelet",))]
    if case.role != "control-plane" or case.manifest is None:
        return tuple(found)
    etcd = [
        Port(number, ("etcd",))
        for cluster in case.manifest.etcd
        for number in (cluster.client_port, cluster.peer_port, cluster.metrics_port)
    ]
    return (
        *found,
        *etcd,
        Port(case.manifest.api.port, ("kube-apiserver",)),
        Port(10257, ("kube-controller",)),
        Port(10259, ("kube-scheduler",)),
        Port(case.manifest.identity.port, ("systemd", "agent", "python", "python3")),
    )


def judge_ports(expected: Iterable[Port], listening: Iterable[Listener]) -> Finding:
    by_port: dict[int, list[Listener]] = {}
    for listener in listening:
        by_port.setdefault(listener.port, []).append(listener)
    found = []
    for port in expected:
        strangers = [one for one in by_port.get(port.number, ()) if not _belongs(one, port)]
        if strangers:
            said = f"port {port.number} is {port.programs[0]}'s, but {strangers[0]} listens there"
            found.append(fail(said, f"ss -ltnp 'sport = :{port.number}'; stop that program", "port-taken"))
    free = "nobody else listens on this node's ports"
    return worst(found) if found else ok(free)


def _belongs(listener: Listener, port: Port) -> bool:
    """Without root nobody may know the name: no accusation then."""
    return not listener.program or any(listener.program.startswith(name[:15]) for name in port.programs)


def mounted(case: Case, path: str) -> bool:
    text = case.patient.path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    return any(entry.path == path for entry in parse_mountinfo(text))
