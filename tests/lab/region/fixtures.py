"""pytest fixtures for tests against a region on loopback, whose machines are doubles: `lab`, and `bare` moto."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.region import sdk
from tests.lab.region.client import LabClient
from tests.lab.region.lab import DOUBLES, Lab
from tests.lab.region.provision import provision
from tests.lab.region.settings import LOOPBACK, Delays, RegionSettings

PROMPT = RegionSettings(machines=DOUBLES, network=LOOPBACK, delays=Delays(0, 0, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class World:
    """Any EC2 endpoint with the lab's network in it. `stick` does nothing where nothing can be held up."""

    aws: Callable[[str], Any]
    subnets: dict[str, str]
    image_id: str
    stick: Callable[[str, str], None]
    free: Callable[[str], None]

    def instance(self, zone: str = "eu-west-1a", **more: Any) -> str:
        """A running instance."""
        ec2 = self.aws("ec2")
        asked = {"ImageId": self.image_id, "InstanceType": "t3.medium", "SubnetId": self.subnets[zone]} | more
        made = ec2.run_instances(MinCount=1, MaxCount=1, **asked)["Instances"][0]["InstanceId"]
        self.wait(lambda: self.instance_state(made) == "running")
        return str(made)

    def instance_state(self, instance_id: str) -> str:
        found = self.aws("ec2").describe_instances(InstanceIds=[instance_id])
        return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])

    def volume(self, zone: str = "eu-west-1a") -> str:
        return str(self.aws("ec2").create_volume(Size=1, AvailabilityZone=zone)["VolumeId"])

    def attach(self, volume: str, instance: str, device: str = "/dev/xvdbz") -> None:
        self.aws("ec2").attach_volume(VolumeId=volume, InstanceId=instance, Device=device)

    def attachment(self, volume: str) -> str:
        """attaching, attached, ... or "none"."""
        found = self.aws("ec2").describe_volumes(VolumeIds=[volume])["Volumes"][0]["Attachments"]
        return str(found[0]["State"]) if found else "none"

    def attached(self, volume: str, instance: str, device: str = "/dev/xvdbz") -> None:
        self.attach(volume, instance, device)
        self.wait(lambda: self.attachment(volume) == "attached")

    @staticmethod
    def wait(condition: Callable[[], bool], seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)


@pytest.fixture(scope="session")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabClient]:
    with Lab(tmp_path_factory.mktemp("lab"), PROMPT) as client:
        yield client


@pytest.fixture
def lab(region: LabClient) -> Iterator[LabClient]:
    yield region
    region.clear_fault()


@pytest.fixture
def strict(lab: LabClient) -> World:
    outputs = lab.outputs
    return World(lab.aws, outputs["private_subnet_ids"], outputs["image_id"], lab.stick_attachment, lab.clear_fault)


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """moto's server as it comes, with the same network provisioned."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with (tmp_path_factory.mktemp("moto") / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-p", str(port)],
            env=dict(os.environ),
            cwd=Path(__file__).resolve().parents[3],
            stdout=log,
            stderr=log,
        )
    try:
        World.wait(lambda: _listens(port))
        aws = sdk.clients(f"http://127.0.0.1:{port}", "AKIAIOSFODNN7EXAMPLE", "none")
        outputs = provision(aws, PROMPT)
        yield World(aws, outputs["private_subnet_ids"], outputs["image_id"], lambda *_: None, lambda _: None)
    finally:
        server.terminate()
        server.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
