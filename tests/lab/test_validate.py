"""What `coordinator validate` asks EC2, asked of the lab's strict region; its machines are doubles here."""

from collections.abc import Callable

import pytest

from coordinator.aws.ec2 import Ec2
from coordinator.aws.session import Aws
from tests.lab.region.client import LabClient
from tests.lab.region.fixtures import World

CLUSTER = "validated.example.com"


@pytest.fixture
def ec2(lab: LabClient, monkeypatch: pytest.MonkeyPatch) -> Ec2:
    for name, value in lab.environment().items():
        monkeypatch.setenv(name, value)
    return Ec2(Aws("eu-west-1", lab.endpoint_url))


@pytest.fixture
def launch(strict: World) -> Callable[[str], str]:
    def launched(group: str) -> str:
        tags = {f"kubernetes.io/cluster/{CLUSTER}": "owned", "bootwright.io/group": group}
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        return strict.instance(TagSpecifications=[{"ResourceType": "instance", "Tags": listed}])

    return launched


def test_machines_are_found_by_their_tags_and_a_silent_one_is_explained(
    ec2: Ec2, strict: World, launch: Callable[[str], str]
) -> None:
    silent, ended = launch("workers"), launch("workers")
    strict.aws("ec2").terminate_instances(InstanceIds=[ended])
    strict.wait(lambda: strict.instance_state(ended) == "terminated")
    found = {machine.instance_id: machine for machine in ec2.of_cluster(CLUSTER)}
    assert (found[silent].group, found[silent].state, found[silent].zone) == ("workers", "running", "eu-west-1a")
    assert found[silent].private_dns
    assert {one for one, machine in found.items() if not machine.runs} <= {ended}
    checks = ec2.checks([silent])[silent]
    assert {checks.system, checks.instance} <= {"ok", "initializing", "impaired"}
    assert any("this is no kernel" in line for line in ec2.console(silent))
    assert ec2.gone([silent, ended, "i-00000000000000000"]) == {ended, "i-00000000000000000"}
