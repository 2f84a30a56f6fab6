"""What the machine is, from files of several machines and from this one."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.linux.machine import gather_machine, parse_version
from tests.agent.linux.recorded import Answer, RunDouble
from units.errors import Fatal

CONTAINERD_1 = "containerd github.com/containerd/containerd 1.7.24~ds1 1.7.24~ds1-6+b4\n"
CONTAINERD_2 = "containerd github.com/containerd/containerd/v2 v2.3.4 75cb2b7193e4e490e9fbdc236c0e811ccaba3376\n"
ETCD = "etcd Version: 3.6.14\nGit SHA: 2e4e2d0\nGo Version: go1.25.1\nGo OS/Arch: linux/amd64\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in {
        "proc/meminfo": "MemTotal:        1004420 kB\nMemFree:  12 kB\n",
        "proc/sys/kernel/osrelease": "6.12.48+deb13-cloud-amd64\n",
        "sys/devices/system/cpu/online": "0-3,6\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
        "etc/resolv.conf": "nameserver 10.99.0.2\n",
        "opt/bootwright/image.json": json.dumps(
            {"containerd": "1.7.24~ds1-6+b4", "etcd": "3.5.16-4+b3", "kernel": None}
        ),
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def versions(containerd: Answer, etcd: Answer) -> RunDouble:
    def answer(arguments: Sequence[str]) -> Answer:
        return {"containerd": containerd, "etcd": etcd}[arguments[0]]

    return RunDouble(answer)


def test_a_baked_machine_is_known_without_starting_a_process(root: Path) -> None:
    run = versions("", "")
    machine = gather_machine(root, run)
    assert run.asked == []
    assert (machine.memory_bytes, machine.cpus) == (1004420 * 1024, 5)
    assert machine.kernel == "6.12.48+deb13-cloud-amd64"
    assert (machine.containerd_version, machine.etcd_version) == ((1, 7), (3, 5))
    assert machine.cgroup_v2
    assert not machine.resolved_active


def test_without_a_record_the_programs_are_asked(root: Path) -> None:
    (root / "opt/bootwright/image.json").unlink()
    run = versions(CONTAINERD_2, ETCD)
    machine = gather_machine(root, run)
    assert (machine.containerd_version, machine.etcd_version) == ((2, 3), (3, 6))
    assert run.asked == [("containerd", "--version"), ("etcd", "--version")]


def test_a_worker_needs_no_etcd(root: Path) -> None:
    (root / "opt/bootwright/image.json").write_text("{}")
    machine = gather_machine(root, versions(CONTAINERD_1, Fatal("tool-missing", "cannot run etcd")))
    assert (machine.containerd_version, machine.etcd_version) == ((1, 7), (0, 0))


def test_a_program_that_fails_is_not_taken_for_missing(root: Path) -> None:
    (root / "opt/bootwright/image.json").unlink()
    with pytest.raises(Fatal, match="broken"):
        gather_machine(root, versions(CONTAINERD_1, Fatal("tool-failed", "broken")))
    with pytest.raises(Fatal, match="names no version: 'gibberish'"):
        gather_machine(root, versions("gibberish", ETCD))


@pytest.mark.parametrize("content", ["[]", "{", "1"])
def test_a_damaged_image_record_is_named(root: Path, content: str) -> None:
    (root / "opt/bootwright/image.json").write_text(content)
    with pytest.raises(Fatal, match=r"image\.json is no JSON object") as damaged:
        gather_machine(root, versions("", ""))
    assert damaged.value.code == "image-record-invalid"


def test_the_resolver_stub_is_noticed(root: Path) -> None:
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.53\noptions edns0\n")
    assert gather_machine(root, versions("", "")).resolved_active
    (root / "etc/resolv.conf").unlink()
    assert not gather_machine(root, versions("", "")).resolved_active


def test_cgroup_v1_is_noticed(root: Path) -> None:
    (root / "sys/fs/cgroup/cgroup.controllers").unlink()
    assert not gather_machine(root, versions("", "")).cgroup_v2


def test_one_processor_is_one(root: Path) -> None:
    (root / "sys/devices/system/cpu/online").write_text("0\n")
    assert gather_machine(root, versions("", "")).cpus == 1


def test_a_kernel_without_that_list_counts_what_we_may_use(root: Path) -> None:
    (root / "sys/devices/system/cpu/online").unlink()
    assert gather_machine(root, versions("", "")).cpus >= 1


@pytest.mark.parametrize(
    ("text", "version"),
    [(CONTAINERD_1, (1, 7)), (CONTAINERD_2, (2, 3)), (ETCD, (3, 6)), ("3.5.16-4+b3", (3, 5)), ("none 1.2", None)],
)
def test_versions_are_found_in_what_programs_print(text: str, version: tuple[int, int] | None) -> None:
    assert parse_version(text) == version


def test_this_machine_is_known() -> None:
    machine = gather_machine("/", versions(CONTAINERD_2, ETCD))
    assert machine.memory_bytes > 64 * 1024 * 1024
    assert machine.cpus >= 1
    assert machine.architecture in ("amd64", "arm64")
    assert machine.kernel == Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert isinstance(machine.time_synchronised, bool)
