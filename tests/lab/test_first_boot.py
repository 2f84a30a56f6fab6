"""First boots of machines of which the image has everything: what they start and import, and what they take for true.

An image with everything is what `tests.lab.image` bakes with every file that the manifest names.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.live import LiveNode, live_cluster
from tests.lab.scenario import GROUP, WORKERS, Scenario

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(2400)]

REACHABLE_SECONDS = 300.0
PROCESSES = "/run/lab-processes"
IMAGE = "/opt/bootwright/image.json"
FETCHED = "/var/lib/bootwright/assets"

# As the unit starts it, and every process told as it starts.
WATCHED = f"""\
import json, runpy, sys
told = open("{PROCESSES}", "a", buffering=1)
def tell(event, arguments):
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"):
        told.write(json.dumps([event, *map(str, arguments[1] or [arguments[0]])]) + "\\n")
sys.addaudithook(tell)
sys.argv = ["agent", "boot"]
runpy.run_module("agent", run_name="__main__")
"""
ENROL = f"""
systemctl stop bootwright-boot.service
cat > /run/lab-boot.py <<'PYTHON'
{WATCHED}PYTHON
mkdir -p /run/systemd/system/bootwright-boot.service.d
printf '[Service]\\nExecStart=\\nExecStart=/opt/bootwright/venv/bin/python -I /run/lab-boot.py\\n' \
    > /run/systemd/system/bootwright-boot.service.d/lab.conf
rm -f /run/bootwright/status.json {PROCESSES}
agent enroll "$LINE"
systemctl daemon-reload
systemctl reset-failed bootwright-boot.service || true
systemctl start --no-block bootwright-boot.service
"""

# What both roles start, and what a control plane does for its volume; etcd's account comes with its package.
EVERYWHERE = {
    "systemctl show",
    "systemctl daemon-reload",
    "systemctl start",
    "modprobe",
    "ctr images list",
}
VOLUME = {"blkid", "wipefs", "mkfs.ext4", "e2fsck", "mount"}
CONTROL_PLANE = EVERYWHERE | VOLUME


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    with live_cluster(tmp_path_factory.mktemp("first-boot")) as scenario:
        yield scenario


@pytest.fixture(scope="module")
def control_plane(scenario: Scenario) -> LiveNode:
    return first_boot(scenario, GROUP)


@pytest.fixture(scope="module")
def worker(scenario: Scenario, control_plane: LiveNode) -> LiveNode:
    """Once there is an issuer."""
    assert control_plane
    return first_boot(scenario, WORKERS)


def first_boot(scenario: Scenario, group: str) -> LiveNode:
    """A machine without user-data, whose agent is watched from its enrolment on."""
    node = LiveNode(scenario, scenario.launch(group, user_data=""))
    scenario.client.wait_until("the machine is reachable", node.is_reachable, REACHABLE_SECONDS)
    line = scenario.coordinator("userdata", group, "--line-only", capture=True)
    settings = line[line.index("{") : line.rindex("}") + 1]
    node.sh(f"LINE='{settings}'\n{ENROL}")
    scenario.wait_until_ready(node.instance_id)
    return node


def started(node: LiveNode) -> list[str]:
    """Program and verbs of each process."""
    rows = [json.loads(line) for line in node.sh(f"cat {PROCESSES}").splitlines()]
    assert {row[0] for row in rows} == {"subprocess.Popen"}
    return [" ".join([row[1], *_verbs(row[1], row[2:])]) for row in rows]


def _verbs(program: str, words: list[str]) -> list[str]:
    known = {"ctr": r"images|list|import|label|tasks|containers|version", "systemctl": r"[a-z]+(-[a-z]+)?"}
    return [word for word in words if re.fullmatch(known.get(program, "$"), word)]


def images(node: LiveNode) -> dict[str, str]:
    """Reference to target digest, as containerd has them now."""
    lines = node.sh("ctr --namespace k8s.io images list | grep -v ^sha256:").splitlines()[1:]
    return {line.split()[0]: line.split()[2] for line in lines}


def baked(node: LiveNode) -> dict[str, str]:
    return {one["reference"]: one["target"] for one in json.loads(node.sh(f"cat {IMAGE}"))["images"]}


def of_images(status: dict[str, Any]) -> dict[str, str]:
    found = {one["key"]: one["status"] for one in status["resources"] if one["key"].startswith("image:")}
    assert found
    return found


@pytest.mark.parametrize("role", ["control_plane", "worker"])
def test_no_image_is_imported_at_a_first_boot(role: str, request: pytest.FixtureRequest) -> None:
    node: LiveNode = request.getfixturevalue(role)
    assert set(of_images(node.status()).values()) == {"unchanged"}
    assert images(node).items() >= baked(node).items()
    assert node.try_sh(f"test -e {FETCHED}").returncode == 1


def test_what_a_control_planes_first_boot_starts(control_plane: LiveNode) -> None:
    """Neither kubelet, etcd, containerd nor a component of Kubernetes, to be asked what it is."""
    found = started(control_plane)
    assert set(found) == CONTROL_PLANE
    assert found.count("ctr images list") == 1
    assert found.count("systemctl daemon-reload") == 2  # etcd's unit, kubelet's


def test_what_a_workers_first_boot_starts(worker: LiveNode) -> None:
    found = started(worker)
    assert set(found) == EVERYWHERE
    assert found.count("ctr images list") == 1
    assert found.count("systemctl daemon-reload") == 1


def test_an_image_whose_name_leads_elsewhere_is_loaded_again(worker: LiveNode) -> None:
    before = baked(worker)
    name = min(of_images(worker.status())).removeprefix("image:")
    other = next(one for one in before if one != name)
    worker.sh(f"ctr --namespace k8s.io images tag --force {other} {name}")
    assert images(worker)[name] == before[other] != before[name]
    seen = worker.observe("boot")
    assert seen.exit_code == 0, seen.log
    assert images(worker)[name] == before[name]


def test_without_containerds_store_the_images_come_from_the_image_again(worker: LiveNode) -> None:
    """Why the archives stay there: it takes no download."""
    worker.sh("systemctl stop kubelet.service containerd.service; find /var/lib/containerd -mindepth 1 -delete")
    seen = worker.observe("boot")
    assert seen.exit_code == 0, seen.log
    assert set(of_images(seen.status).values()) == {"changed"}
    wanted = {key.removeprefix("image:") for key in of_images(seen.status)}
    assert images(worker).items() >= {name: baked(worker)[name] for name in wanted}.items()
    assert worker.try_sh(f"test -e {FETCHED}").returncode == 1
