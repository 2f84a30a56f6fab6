"""Every process that a first boot starts, by name: none of them is a big binary that is asked for its version."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.linux.verifier import LinuxVerifier
from tests.bench.cloud import Cloud, running_cloud
from tests.bench.fleet import Published, found_cluster
from tests.bench.issuer_double import IssuerDouble
from tests.bench.node_venv import NodeVenv, node_venv
from tests.bench.nodes import GROUP, WORKERS, Counts, bake_node
from tests.bench.tools import ToolsDouble
from tests.units.machines import FACTS, empty_machine, manifest
from units.plan import plan
from units.validation import complaints

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Tens of megabytes each, which a first boot would read from S3 block by block (peers.md 4.3).
BIG = {"containerd", "crictl", "etcd", "etcdctl", "etcdutl", "kube-apiserver", "kubeadm", "kubectl", "kubelet", "runc"}

Boot = Callable[..., Counts]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud) -> Published:
    published = found_cluster(tmp_path_factory.mktemp("operator"), cloud, asset_bytes=1_000_000)
    published.operator.run("publish", "--yes")
    return published


@pytest.fixture(scope="module")
def first_boot(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud, published: Published) -> Boot:
    venv: NodeVenv = node_venv()

    def boot(group: str, *options: str, prepare: Callable[[Path], None] = lambda _root: None) -> Counts:
        folder = tmp_path_factory.mktemp("node")
        with closing(IssuerDouble(folder, published.manifest(WORKERS), cloud)):
            node = bake_node(folder / "root", published, cloud, venv, group)
            prepare(node.root)
            return node.counted("boot", "tools", *options)

    return boot


@pytest.fixture(scope="module")
def worker(first_boot: Boot) -> Counts:
    return first_boot(WORKERS, "preloaded")


@pytest.fixture(scope="module")
def control_plane(first_boot: Boot) -> Counts:
    return first_boot(GROUP, "preloaded")


def commands(counts: Counts) -> Counter[str]:
    """`ctr images list`, `systemctl show`: the program and its verbs, without options and names."""
    return Counter(" ".join(_verbs(words)) for words in counts.processes)


def _verbs(words: tuple[str, ...]) -> Iterator[str]:
    yield words[0].rpartition("/")[2]
    known = {"ctr": r"images|list|import|label|tasks|containers|version", "systemctl": r"[a-z]+(-[a-z]+)?"}
    yield from [word for word in words[1:] if re.fullmatch(known.get(words[0], "$"), word)]


def programs(counts: Counts) -> set[str]:
    return {words[0].rpartition("/")[2] for words in counts.processes}


def archives_read(counts: Counts, published: Published) -> list[str]:
    digests = {image.sha256 for image in published.manifest(GROUP).images}
    return [name for name in counts.opened if name.rpartition("/")[2] in digests]


def test_all_that_a_workers_first_boot_starts(worker: Counts) -> None:
    """Nothing is shown to `containerd config dump` or `systemd-analyze verify`: that is for a change (below)."""
    assert commands(worker) == {
        "systemctl show": 2
        + 5,  # systemd and its units for the timeline; before and after each start, and containerd once more
        "systemctl daemon-reload": 1,
        "systemctl start": 2,  # containerd, kubelet
        "modprobe": 2,
    }


def test_all_that_a_control_planes_first_boot_starts(control_plane: Counts) -> None:
    """With the tools of etcd's volume, it is these on a machine: tests/lab/test_first_boot.py."""
    assert commands(control_plane) == {
        "systemctl show": 2 + 13,
        "systemctl daemon-reload": 2,
        "systemctl start": 5,  # etcd, its backup's timer, containerd, the issuer's socket, kubelet
        "modprobe": 2,
        "groupadd": 1,
        "useradd": 1,
        "ctr images list": 1,
    }


def test_no_big_binary_is_run_to_ask_it_something(worker: Counts, control_plane: Counts) -> None:
    assert not BIG & (programs(worker) | programs(control_plane))


def test_of_a_preloaded_image_no_archive_is_read(control_plane: Counts, published: Published) -> None:
    assert archives_read(control_plane, published) == []


def test_an_image_that_is_not_preloaded_is_imported_once(first_boot: Boot, published: Published) -> None:
    counts = first_boot(GROUP)
    images = len(published.manifest(GROUP).images)
    assert images == 3
    assert commands(counts)["ctr images import"] == images
    assert commands(counts)["ctr images label"] == images
    assert len(archives_read(counts, published)) == images


def test_a_change_on_a_running_machine_is_shown_to_containerd_and_to_systemd(tmp_path: Path) -> None:
    """The one time that a big binary is run by the agent: its own reading of its own file, before a switch."""
    tools = ToolsDouble(tmp_path)
    host = replace(empty_machine().host, verifier=LinuxVerifier(tools))
    assert list(complaints(plan(manifest("control-plane"), FACTS), 36, host)) == []
    assert [[word for word in words if "/" not in word] for words in tools.started] == [
        ["containerd", "--config", "config", "dump"],
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"],
    ]
