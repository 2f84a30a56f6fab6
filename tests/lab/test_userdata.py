"""User-data and real cloud-init on both kinds of image: ours reads it as data, another one is made a node by it.

And how the boots went: each node's timeline, and the fleet's slowest phases.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from coordinator.layout import asset_key
from coordinator.userdata import MAX_BYTES
from tests.lab import cache
from tests.lab.live import LiveNode, live_cluster
from tests.lab.region.settings import ROOT_DEVICE
from tests.lab.run import run
from tests.lab.scenario import BUCKET, CLUSTER, GROUP, WORKERS, Scenario
from tests.lab.stock import stock

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(2400)]

PATIENCE = 1200.0  # four machines boot at once, and three of them install the agent
CLOUD_INIT_LOG = "/var/log/cloud-init-output.log"
VENV = "/opt/bootwright/venv"
AGAIN = "/etc/systemd/system/multi-user.target.wants/bootwright-install.service"


@dataclass(frozen=True, slots=True)
class World:
    control_plane: LiveNode  # of our image, told by a multipart
    worker: LiveNode  # of a stock image, told by a cloud-config
    scripted: LiveNode  # of a stock image, told by a script
    deceived: LiveNode  # of a stock image; what lies in the bucket is not what its user-data names
    userdata: str

    @property
    def scenario(self) -> Scenario:
        return self.control_plane.scenario


def publish_agent(scenario: Scenario) -> None:
    wheels = scenario.directory / "wheels"
    run([sys.executable, "-m", "tests.lab.wheelhouse", str(wheels)], timeout=600)
    scenario.coordinator("agent-bundle", "publish", str(wheels), "--packer", str(cache.CHECKOUT / "packer"))


def register_stock_image(scenario: Scenario) -> str:
    """As a distribution does: an image of the region, whose disk is the one that was baked."""
    registered = scenario.client.aws("ec2").register_image(
        Name="debian-13-amd64", Architecture="x86_64", RootDeviceName=ROOT_DEVICE, VirtualizationType="hvm"
    )["ImageId"]
    disk = scenario.client.run.image(registered)
    disk.parent.mkdir(exist_ok=True)
    disk.symlink_to(stock(prepared=True).path)
    return str(registered)


def plant_another_bundle(scenario: Scenario, bundle: dict[str, Any], digest: str) -> None:
    """As a thief with write access would: under the key of `digest`, of the right size, with one bit turned."""
    s3 = scenario.client.aws("s3")
    key = f"{CLUSTER}/{asset_key(bundle['sha256'])}"
    body = bytearray(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    body[len(body) // 2] ^= 1
    s3.put_object(Bucket=BUCKET, Key=f"{CLUSTER}/{asset_key(digest)}", Body=bytes(body))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All are launched together: a lab's time is its machines' boots."""
    with live_cluster(tmp_path_factory.mktemp("userdata"), before_publish=publish_agent) as scenario:
        image = register_stock_image(scenario)
        scenario.terraform.make_volume()

        def launch(group: str, text: str, **changed: Any) -> LiveNode:
            machines = replace(scenario.machines(group), user_data=text, **changed)
            return LiveNode(scenario, scenario.terraform.run_instance(machines))

        def userdata(group: str, form: str) -> str:
            return scenario.coordinator("userdata", group, "--format", form, capture=True)

        plain = userdata(WORKERS, "cloud-config")
        (bundle,) = json.loads(scenario.coordinator("agent-bundle", "list", "--json", capture=True))["agents"]
        plant_another_bundle(scenario, bundle, "0" * 64)
        made = World(
            control_plane=launch(GROUP, userdata(GROUP, "mime")),
            worker=launch(WORKERS, plain, image=image),
            scripted=launch(WORKERS, userdata(WORKERS, "shell"), image=image),
            deceived=launch(WORKERS, plain.replace(bundle["sha256"], "0" * 64), image=image),
            userdata=plain,
        )
        for node in (made.control_plane, made.worker, made.scripted):
            scenario.wait_until_ready(node.instance_id, PATIENCE)
        yield made


def test_cloud_init_itself_finds_the_user_data_valid(world: World) -> None:
    assert len(world.userdata.encode()) <= MAX_BYTES
    said = world.worker.sh("cloud-init schema --system 2>&1")
    assert "Valid schema user-data" in said
    assert world.worker.sh("cloud-init query ds.meta_data.instance_id") == world.worker.instance_id, "EC2's own source"


@pytest.mark.parametrize("name", ["worker", "scripted"])
def test_a_stock_image_becomes_a_node_by_its_user_data_alone(world: World, name: str) -> None:
    node: LiveNode = getattr(world, name)
    assert node.status()["stage"] == "ready"
    assert node.sh("cloud-init status --wait | head -1") == "status: done"
    assert node.sh("systemctl is-enabled bootwright-boot.service bootwright-sync.timer").split() == ["enabled"] * 2
    assert node.sh("stat --format %U:%a /opt/bootwright /opt/bootwright/venv").split() == ["root:755"] * 2
    assert "not root" not in node.sh(f"find {VENV} ! -user root -printf 'not root: %p\\n'")
    versions = json.loads(node.sh("cat /opt/bootwright/image.json"))
    assert {"containerd", "etcd", "runc"} <= set(versions), "else every boot runs these to learn their versions"
    assert node.sh(f"ls -d {AGAIN} /usr/local/lib/bootwright 2> /dev/null || true") == "", "nothing is left to install"


def test_our_image_runs_nothing_of_it_and_does_not_wait_for_it(world: World) -> None:
    node = world.control_plane
    assert node.sh("test -e /opt/bootwright/bundle && echo installed || echo baked") == "baked"
    assert node.sh("ls /var/lib/cloud/instance/scripts/") == "", "what cloud-init would have run"
    spans = {span["name"]: span for span in timeline_of(node)["spans"]}
    assert spans["bootwright-boot.service"]["begins"] < spans["cloud-final.service"]["begins"]


def test_what_is_not_the_bundle_that_was_named_is_never_unpacked_and_the_console_says_so(world: World) -> None:
    node = world.deceived
    world.scenario.client.wait_until("a try to install", lambda: "try 1 of" in node.machine.console(), PATIENCE)
    assert node.sh("ls /opt/bootwright") == "bundle.partial"
    assert "is not what the userdata names" in node.sh(f"cat {CLOUD_INIT_LOG}")
    assert "is not what the userdata names" in node.machine.console()
    assert node.sh(f"readlink {AGAIN}") == "/etc/systemd/system/bootwright-install.service", "the next boot tries again"
    assert world.scenario.status(node.instance_id) == {}


def test_after_a_reboot_the_node_is_one_like_any_other(world: World) -> None:
    """cloud-init has learned from the bundle's own files to run nothing; the agent reads the user-data itself."""
    node, before = world.worker, world.worker.boot_id()
    world.scenario.client.aws("ec2").reboot_instances(InstanceIds=[node.instance_id])
    world.scenario.wait_until_ready(node.instance_id, PATIENCE, other_boot_than=before)
    assert "allow_userdata: false" in node.sh("cat /etc/cloud/cloud.cfg.d/99-bootwright.cfg")
    spans = {span["name"]: span for span in timeline_of(node)["spans"]}
    assert spans["bootwright-boot.service"]["begins"] < spans["cloud-final.service"]["begins"]
    assert "EC2: order to kernel" not in spans, "EC2's order is of the boot before"


def timeline_of(node: LiveNode) -> dict[str, Any]:
    """Once systemd has nothing left to start."""
    node.try_sh("systemctl is-system-running --wait")
    return dict(json.loads(node.sh("agent status --timeline --json")))


def test_a_boots_timeline_has_the_stamps_of_kernel_systemd_and_agent_in_their_order(world: World) -> None:
    timeline = timeline_of(world.control_plane)
    spans = {span["name"]: (span["begins"], span["ends"]) for span in timeline["spans"]}
    assert -PATIENCE < spans["EC2: order to kernel"][0] < 0 == spans["EC2: order to kernel"][1]
    kernel = world.control_plane.sh("systemctl show --value --property UserspaceTimestampMonotonic")
    assert spans["kernel"] == (0.0, pytest.approx(int(kernel) / 1e6, abs=0.001))
    unit = "systemctl show --value --property {} bootwright-boot.service"
    started = int(world.control_plane.sh(unit.format("InactiveExitTimestampMonotonic"))) / 1e6
    active = int(world.control_plane.sh(unit.format("ActiveEnterTimestampMonotonic"))) / 1e6
    assert spans["bootwright-boot.service"] == (pytest.approx(started, abs=0.001), pytest.approx(active, abs=0.001))
    assert spans["kernel"][1] <= spans["network-online.target"][0] <= timeline["ready"] <= active
    assert started <= spans["converging"][0]
    assert spans["converging"][0] <= spans["containerd.service"][0] <= spans["kubelet.service"][0] <= timeline["ready"]
    assert world.scenario.status(world.control_plane.instance_id)["timeline"]["ready"] == timeline["ready"]


def test_the_screen_shows_every_phase_and_on_a_terminal_a_bar(world: World) -> None:
    plain = world.control_plane.sh("agent status --timeline")
    assert "converging" in plain
    assert "━" not in plain
    drawn = world.control_plane.sh("TERM=xterm script --quiet --command 'agent status --timeline' /dev/null")
    assert "━" in drawn


def test_the_fleets_slowest_phases_are_named_with_their_node(world: World) -> None:
    text = world.scenario.coordinator("status", "--slow", "--all", "--json", capture=True)
    document = json.loads(text)
    phases = {phase["phase"]: phase for phase in document["phases"]}
    nodes = {world.control_plane.instance_id, world.worker.instance_id, world.scripted.instance_id}
    assert (document["nodes"], document["without_timeline"]) == (3, 0)
    assert phases["converging"]["nodes"] == 3
    assert phases["converging"]["slowest"] in nodes
    assert phases["until ready"]["max"] >= phases["until ready"]["p50"] > 0
    assert phases["bootwright-etcd-main.service"]["slowest"] == world.control_plane.instance_id


def test_the_record_of_it_all_for_people(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What docs/boot.md shows; printed with -s."""
    for node in (world.control_plane, world.worker):
        sys.stdout.write(node.sh("agent status --timeline") + "\n")
    sys.stdout.write(world.scenario.coordinator("status", "--slow", capture=True))
    shown = capsys.readouterr().out
    (Path(cache.folder("logs")) / "userdata-timeline.txt").write_text(shown)
    assert "ready" in shown
