"""The program in a stock image's user-data, on a throw-away copy of this machine: what fails is tried again.

The bundle is there already (its way is tests/coordinator/test_agent_bundle.py); install.sh and systemctl are doubles.
"""

import json
import shlex
from pathlib import Path

import pytest

from coordinator import on_stock_image
from tests.packer.throwaway import Throwaway

pytestmark = pytest.mark.root

ASKED = json.dumps({"bundles": {}})
INSTALL_DOUBLE = """#!/bin/bash
echo "install.sh $*" >> /calls
[[ -e /mirror ]] || { echo "no mirror" >&2; exit 100; }
[[ $1 != inventory ]] || echo '{}' > /opt/bootwright/image.json
"""
SET_UP = f"""
mkdir -p /opt/bootwright/venv /opt/bootwright/bundle/packer
rm -f /opt/bootwright/image.json
printf %s {shlex.quote(INSTALL_DOUBLE)} > /opt/bootwright/bundle/packer/install.sh
"""
LEFT = "ls -d /etc/systemd/system/bootwright-install.service /usr/local/lib/bootwright/* 2> /dev/null || true"
DONE = [
    "install.sh packages services",
    "systemctl daemon-reload",
    "systemctl enable bootwright-boot.service bootwright-sync.timer",
    "install.sh inventory",
]


@pytest.fixture
def machine(tmp_path: Path) -> Throwaway:
    made = Throwaway(tmp_path, {"systemctl": 'echo "systemctl $*" >> /calls'})
    made.says(SET_UP)
    return made


def run(tries: int) -> str:
    """As cloud-init would; waiting takes no time here."""
    program = Path(on_stock_image.__file__).read_text()
    assert "TRIES = 40" in program
    program = program.replace("TRIES = 40", f"TRIES = {tries}").replace("time.sleep(", "max(0, ")
    return f"python3 -Ic {shlex.quote(program)} {shlex.quote(ASKED)}"


def test_what_is_installed_leaves_nothing_to_do_for_the_next_boot(machine: Throwaway) -> None:
    machine.says("touch /mirror")
    assert machine.says(f"{run(1)} >&2; cat /calls").splitlines() == DONE
    assert machine.says(LEFT) == ""
    assert machine.says(f"{run(1)} >&2; cat /calls").splitlines() == DONE, "a machine that has it does nothing"


def test_a_mirror_that_is_away_is_asked_again(machine: Throwaway) -> None:
    script = INSTALL_DOUBLE.replace("exit 100", "touch /mirror; exit 100")
    machine.says(f"printf %s {shlex.quote(script)} > /opt/bootwright/bundle/packer/install.sh")
    done = machine.run(run(2))
    assert done.returncode == 0, done.stderr
    assert "try 1 of 2 to install the agent: bash /opt/bootwright/bundle/packer/install.sh packages" in done.stderr
    assert machine.says("cat /calls").splitlines() == [DONE[0], *DONE]


def test_what_could_not_be_installed_says_so_and_is_tried_at_the_next_boot(machine: Throwaway) -> None:
    done = machine.run(run(2))
    assert done.returncode == 1
    assert "the agent is NOT installed; the next boot tries again" in done.stderr
    wanted = "/etc/systemd/system/multi-user.target.wants/bootwright-install.service"
    unit = machine.says(f"test -L {wanted}; cat {wanted}")
    assert "ExecStartPost=/bin/systemctl start --no-block bootwright-boot.service bootwright-sync.timer" in unit
    assert "StandardError=journal+console" in unit
    (command,) = (line.removeprefix("ExecStart=") for line in unit.splitlines() if line.startswith("ExecStart="))
    machine.says("touch /mirror; rm /calls")
    assert machine.says(f"{command} >&2; cat /calls").splitlines() == DONE
    assert machine.says(LEFT) == ""


def test_systemd_takes_the_unit(machine: Throwaway) -> None:
    machine.run(run(1))
    machine.says("touch /etc/systemd/system/bootwright-boot.service")
    done = machine.run("systemd-analyze verify --man=no --recursive-errors=no bootwright-install.service")
    assert (done.returncode, done.stderr) == (0, "")
