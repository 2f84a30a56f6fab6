"""Debian 12 all the way: Packer builds its AMI with the releases it needs, and that AMI becomes a cluster's nodes.

Python 3.11, systemd 252, cloud-init 22.4, chrony 4.3, runc 1.1.5: what the other tests' Debian 13 would never show.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import packer
from tests.lab.bases import DEBIAN_12
from tests.lab.live import LiveNode, live_cluster
from tests.lab.releases import VERSIONS
from tests.lab.scenario import GROUP, WORKERS, Scenario

pytestmark = [
    pytest.mark.root,
    pytest.mark.lab,
    pytest.mark.nightly,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(packer.why_not()), reason=packer.why_not() or "there is one"),
]

PATIENCE = 1200.0


@dataclass(frozen=True, slots=True)
class World:
    control_plane: LiveNode
    worker: LiveNode

    @property
    def scenario(self) -> Scenario:
        return self.control_plane.scenario

    @property
    def nodes(self) -> tuple[LiveNode, LiveNode]:
        return self.control_plane, self.worker


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with live_cluster(tmp_path_factory.mktemp("debian-12"), built_of=DEBIAN_12) as scenario:
        control_plane, worker = scenario.launch(GROUP), scenario.launch(WORKERS)
        for instance in (control_plane, worker):
            scenario.wait_until_ready(instance, PATIENCE)
        yield World(LiveNode(scenario, control_plane), LiveNode(scenario, worker))


def test_both_kinds_of_node_come_up_of_it(world: World) -> None:
    for node in world.nodes:
        assert node.status()["stage"] == "ready"
        assert node.sh(". /etc/os-release; echo $VERSION_CODENAME") == "bookworm"
        assert node.sh("systemctl --version | head -1").startswith("systemd 252")
        image = json.loads(node.sh("cat /opt/bootwright/image.json"))
        assert image["base"] == "debian-12"
        assert (image["containerd"], image["etcd"]) == (VERSIONS["CONTAINERD"], VERSIONS["ETCD"])
        assert image["python"].startswith("3.11.")


def test_no_unit_has_failed_and_none_was_read_with_a_complaint(world: World) -> None:
    """A directive that systemd 252 does not know is only a line in its journal."""
    for node in world.nodes:
        assert node.sh("systemctl --failed --plain --no-legend --no-pager") == ""
        said = node.sh("journalctl --boot --no-pager --output cat _PID=1 || true")
        assert [
            line for line in said.splitlines() if "bootwright" in line and ("Unknown" in line or "ignor" in line)
        ] == []


def test_what_runs_is_the_pinned_release_by_its_own_unit(world: World) -> None:
    for node in world.nodes:
        shown = node.sh("systemctl show --property=FragmentPath,ActiveState containerd.service").split()
        assert set(shown) == {"FragmentPath=/etc/systemd/system/containerd.service", "ActiveState=active"}
        assert f" {VERSIONS['CONTAINERD']}" in node.sh("ctr version | grep Version:").replace("~ds1", "")
        # Debian's runc with its release's containerd: config version 2, the snapshotter and the CRI are up.
        plugins = [line.split() for line in node.sh("ctr plugins list").splitlines()]
        works = {plugin[1] for plugin in plugins if plugin[-1] == "ok"}
        assert {"cri", "overlayfs"} <= works
    assert f"etcd Version: {VERSIONS['ETCD']}" in world.control_plane.sh("etcd --version")


def test_what_is_to_be_kept_and_what_is_to_be_asked_for_the_time(world: World) -> None:
    for node in world.nodes:
        assert node.sh("ls /var/log/journal/$(cat /etc/machine-id)/system.journal")
        assert "status: done" in node.sh("cloud-init status --wait")
        assert "169.254.169.123" in node.sh("chronyd -p -f /etc/chrony/chrony.conf")
        assert node.sh("stat --file-system --format %T /sys/fs/cgroup") == "cgroup2fs"


def test_another_convergence_changes_nothing(world: World) -> None:
    for node in world.nodes:
        before = node.fingerprint()
        assert node.agent("sync").returncode == 0
        assert node.fingerprint() == before


def test_it_is_a_node_again_after_a_reboot(world: World) -> None:
    node = world.worker
    before = node.boot_id()
    world.scenario.client.aws("ec2").reboot_instances(InstanceIds=[node.instance_id])
    world.scenario.wait_until_ready(node.instance_id, PATIENCE, other_boot_than=before)
    assert Path(node.sh("readlink /proc/1/exe")).name == "systemd"
