"""The region with real machines behind it: what the double cannot vouch for."""

import json
from collections.abc import Iterator

import pytest

from tests.lab import image
from tests.lab.machine import Machine
from tests.lab.region.client import LabClient, LabError, RemoteMachine
from tests.lab.region.lab import Lab
from tests.lab.region.settings import Delays, RegionSettings

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(1200)]

BOOT_SECONDS = 180.0
MOUNT = "set -e; disk=$(readlink -f /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{serial}); mount $disk /mnt; "


@pytest.fixture(scope="module")
def uml(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabClient]:
    settings = RegionSettings(image_id=image.bake().id, delays=Delays(0, 0.2, 0.2, 0, 0.2), memory_limit_mib=768)
    try:
        with Lab(tmp_path_factory.mktemp("uml"), settings) as lab:
            yield lab
    except LabError as error:
        if "up on this host already" in str(error):
            pytest.skip("another lab has the bridge")
        raise


def booted(lab: LabClient, group: str) -> RemoteMachine:
    machine = lab.machine(lab.run_instance(group))
    lab.wait_until(f"{group} is reachable", machine.is_reachable, BOOT_SECONDS)
    return machine


def shell(machine: RemoteMachine, script: str) -> str:
    """The script's standard output; it must succeed."""
    done = machine.exec("sh", "-c", script)
    assert done.returncode == 0, done.stderr
    return done.stdout


def attached(lab: LabClient, volume: str, machine: RemoteMachine) -> None:
    ec2 = lab.aws("ec2")
    ec2.attach_volume(VolumeId=volume, InstanceId=machine.instance_id, Device="/dev/xvdbz")
    lab.wait_until(f"{volume} attached", lambda: state(lab, volume) == "attached")


def state(lab: LabClient, volume: str) -> str:
    return next(str(row["state"]) for row in lab.status()["volumes"] if row["id"] == volume)


def test_a_volume_carries_its_data_over_power_cut_and_termination(uml: LabClient) -> None:
    first = booted(uml, "control-plane-a")
    ec2 = uml.aws("ec2")
    volume = ec2.create_volume(Size=1, AvailabilityZone="eu-west-1a", VolumeType="gp3")["VolumeId"]
    serial = volume.replace("-", "")
    attached(uml, volume, first)
    wait = f"until test -e /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{serial}; do sleep 0.1; done; "
    make = f"mkfs.ext4 -q /dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_{serial}; "
    shell(first, wait + make + MOUNT.format(serial=serial) + "echo kept > /mnt/kept; sync")

    ec2.detach_volume(VolumeId=volume)
    uml.wait_until("busy", lambda: state(uml, volume) == "busy")
    before = shell(first, "cat /proc/sys/kernel/random/boot_id")
    first.power_cut()
    uml.wait_until("booted again", lambda: first.is_reachable() and _boot_id(first) != before, BOOT_SECONDS)

    second = booted(uml, "control-plane-a2")
    uml.terminate(first.instance_id)
    uml.wait_until("free", lambda: state(uml, volume) == "available")
    attached(uml, volume, second)
    assert shell(second, wait + MOUNT.format(serial=serial) + "cat /mnt/kept") == "kept\n"
    shell(second, "umount /mnt")
    ec2.detach_volume(VolumeId=volume)
    uml.wait_until(
        "free again", lambda: not [v for v in uml.status()["volumes"] if v["id"] == volume and v["instance"]]
    )


def _boot_id(machine: RemoteMachine) -> str:
    return machine.exec("cat", "/proc/sys/kernel/random/boot_id").stdout


def test_the_guest_sees_itself_in_imds(uml: LabClient) -> None:
    node = booted(uml, "nodes")
    script = """
        token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' http://169.254.169.254/latest/api/token)
        curl -sf -H "X-aws-ec2-metadata-token: $token" http://169.254.169.254/latest/meta-data/$1
    """
    ask = lambda path: node.exec("sh", "-c", script, "sh", path).stdout  # noqa: E731 - one command
    assert ask("instance-id") == node.instance_id
    address = ask("local-ipv4")
    assert f"inet {address}/20" in shell(node, "ip -4 address show dev vec0")
    assert shell(node, "cat /sys/class/net/vec0/address").strip() == ask("mac")
    assert json.loads(ask("iam/security-credentials/node"))["Code"] == "Success"


def test_cloud_init_finds_its_instance(uml: LabClient) -> None:
    node = booted(uml, "nodes-ci")
    shell(node, "cloud-init status --wait > /dev/null || test $? = 2")
    assert shell(node, "cloud-init query v1.instance_id").strip() == node.instance_id


def test_console_output_is_what_the_guest_printed(uml: LabClient) -> None:
    node = booted(uml, "nodes-b")
    shell(node, "echo said by the guest > /dev/console")
    output = lambda: uml.aws("ec2").get_console_output(InstanceId=node.instance_id)["Output"]  # noqa: E731 - one call
    uml.wait_until("console output", lambda: "said by the guest" in output())


def test_a_terminated_machine_leaves_no_process_and_no_disk(uml: LabClient) -> None:
    node = booted(uml, "nodes-c")
    machine = Machine.at(uml.run.machine(node.instance_id))
    assert machine.is_alive()
    uml.terminate(node.instance_id)
    uml.wait_for_state(node.instance_id, "terminated")
    assert not machine.is_alive()
    assert not list(uml.run.machine(node.instance_id).glob("*.cow"))
