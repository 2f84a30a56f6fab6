"""How a region begins and ends: beside others, after one that was killed, and without leaving anything behind."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lab.region.client import LabClient, LabError
from tests.lab.region.fixtures import PROMPT, World
from tests.lab.region.lab import Lab, end, start
from tests.lab.region.ledger import entries


def test_two_regions_on_loopback_do_not_meet(lab: LabClient, tmp_path: Path) -> None:
    with Lab(tmp_path / "other", PROMPT) as other:
        assert other.endpoint_url != lab.endpoint_url
        assert other.outputs["vpc_id"] != lab.outputs["vpc_id"]
        assert other.status()["instances"] == []


def test_leaving_the_block_leaves_no_process(tmp_path: Path) -> None:
    with contextlib.suppress(ZeroDivisionError), Lab(tmp_path, PROMPT) as lab:
        lab.run_instance("control-plane")
        lab.wait_until("haproxy", lambda: len(entries(lab.run.processes)) == 2)
        processes = [entry.process for entry in entries(lab.run.processes)]
        raise ZeroDivisionError
    assert len(processes) == 2
    assert not any(process.is_alive() for process in processes)
    with pytest.raises(LabError, match="no lab is up"):
        LabClient(tmp_path)


def test_a_region_ends_itself_when_its_owner_was_killed(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys\n"
        "from tests.lab.region.fixtures import PROMPT\n"
        "from tests.lab.region.lab import Lab\n"
        "with Lab(pathlib.Path(sys.argv[1]), PROMPT):\n"
        "    print('up', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as owner:
        assert owner.stdout
        assert owner.stdout.readline() == b"up\n"
        lab = LabClient(tmp_path)
        processes = [entry.process for entry in entries(lab.run.processes)]
        owner.kill()
    lab.wait_until("all ended", lambda: not any(process.is_alive() for process in processes))
    assert not lab.run.processes.exists()


def test_a_killed_region_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    first = start(tmp_path, PROMPT)
    first.wait_until("haproxy", lambda: len(entries(first.run.processes)) == 2)
    region, haproxy = [entry.process for entry in entries(first.run.processes)]
    os.kill(region.pid, signal.SIGKILL)
    first.wait_until("region dead", lambda: not region.is_alive())
    assert haproxy.is_alive(), "otherwise there is nothing to clear away"
    second = start(tmp_path, PROMPT)
    try:
        assert not haproxy.is_alive()
        assert second.status()["instances"] == []
    finally:
        end(tmp_path)


def test_a_second_lab_in_the_same_place_is_refused(lab: LabClient) -> None:
    with pytest.raises(LabError, match="is up in"):
        start(lab.run.path, PROMPT)
    assert lab.status()


def test_a_region_that_cannot_start_says_why(tmp_path: Path) -> None:
    broken = dataclasses.replace(PROMPT, machines="tests.lab.region.no_such:launch", image_id="ami-00000000000000001")
    with pytest.raises(LabError, match="no_such"):
        Lab(tmp_path, broken).__enter__()
    assert not entries(tmp_path / "processes")


def test_eight_callers_at_once_get_eight_instances(lab: LabClient, strict: World) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: strict.instance(), range(8)))
    addresses = {lab.instance(instance)["private_ip"] for instance in made}
    assert len(addresses) == 8
