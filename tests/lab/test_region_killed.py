"""A region that was killed cannot switch its machines off; whoever comes next does."""

import os
import signal
from pathlib import Path

import pytest

from tests.lab import image, network
from tests.lab.machine import Machine
from tests.lab.region.client import LabError
from tests.lab.region.lab import end, start
from tests.lab.region.ledger import entries
from tests.lab.region.settings import Delays, RegionSettings

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(900)]


def test_machines_of_a_killed_region_are_switched_off_by_down(tmp_path: Path) -> None:
    settings = RegionSettings(image_id=image.bake().id, delays=Delays(0, 0, 0, 0, 0), memory_limit_mib=512)
    try:
        lab = start(tmp_path, settings)
    except LabError as error:
        if "up on this host already" in str(error):
            pytest.skip("another lab has the bridge")
        raise
    try:
        instance = lab.run_instance("nodes")
        lab.wait_for_state(instance, "running")
        region = entries(lab.run.processes)[0].process
        os.kill(region.pid, signal.SIGKILL)
        lab.wait_until("region dead", lambda: not region.is_alive())
        assert Machine.at(lab.run.machine(instance)).is_alive(), "otherwise there is nothing to switch off"
    finally:
        end(tmp_path)
    assert not Machine.at(lab.run.machine(instance)).is_alive()
    assert not Path("/sys/class/net", network.tap_name(instance)).exists()
