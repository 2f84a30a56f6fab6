"""Volumes with an end, filled by somebody else while somebody writes. Nobody but the agent makes room; all is kept."""

import subprocess
from collections.abc import Callable

import pytest

from tests.etcd_machines.stories import established, healed
from tests.etcd_machines.world import Machine, World
from tests.etcd_machines.writer import Writer

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

MIB = 1024**2
MOUNT = "/var/lib/etcd/main"
CODES = {"etcd-disk-full", "etcd-disk-low", "etcd-no-reserve", "etcd-no-quorum", "etcd-member-unhealthy"}
MakeWorld = Callable[..., World]


@pytest.fixture(params=[("a", "b", "c"), pytest.param(("a",), marks=pytest.mark.nightly)], ids=["three", "one"])
def world(make_world: MakeWorld, request: pytest.FixtureRequest) -> World:
    world = established(make_world(request.param, rounds=1.0, room=True), megabytes=2048)
    for machine in world.running():
        world.wait_until("it has a reserve and is calm", lambda m=machine: has_reserve(m))  # type: ignore[misc]  # bound now
    return world


def has_reserve(machine: Machine) -> bool:
    kept = machine.etcd_seen.get("reserve_bytes", 0) >= 128 * MIB
    return bool(kept and machine.etcd_seen.get("ready") and not CODES & set(machine.conditions))


def fill(machine: Machine) -> None:
    """To the last block, with a file of somebody else's."""
    free = int(machine.sh("stat", "--file-system", "--format=%a", MOUNT).stdout) * 4096
    assert machine.sh("fallocate", "--length", f"{free - 8 * MIB}", f"{MOUNT}/ballast").returncode == 0
    done = machine.sh("dd", "if=/dev/zero", f"of={MOUNT}/ballast", "bs=4k", "oflag=append", "conv=notrunc")
    assert "No space left" in done.stderr


def ended_by_it(machine: Machine) -> Callable[[], bool]:
    return lambda: '"level":"fatal"' in machine.log and "no space left on device" in machine.log


def test_a_full_volume_ends_etcd_which_serves_again_of_the_reserve_until_the_volume_is_larger(world: World) -> None:
    with Writer(world) as writer:
        writer.wait_for_more()
        victim = world.leader()
        world.look_away()
        fill(victim)
        world.wait_until("the full member ends", ended_by_it(victim))
        if len(world.members) > 1:
            writer.wait_for_more()
        world.look_again()
        healed(world, writer)
        world.wait_until("its status tells what was given up", lambda: bool(victim.etcd_seen["given_up"]))
        (told,) = (one for code, one in victim.conditions.items() if code.startswith("etcd-disk-"))
        assert "gave up its reserve, 128 MiB" in told["message"]
        assert told["remedy"].startswith("aws ec2 modify-volume --volume-id ")
        assert int(victim.sh("stat", "--format=%s", f"{MOUNT}/ballast").stdout) > 1024 * MIB, "nobody else's goes"

        victim.power_cut()
        enlarge(world, victim)
        victim.power_on()
        healed(world, writer)
        world.wait_until("the reserve is back", lambda: has_reserve(victim))


def test_a_machine_that_loses_power_with_its_volume_full_makes_room_as_it_boots(world: World) -> None:
    with Writer(world) as writer:
        writer.wait_for_more()
        victim = world.leader()
        world.look_away()
        fill(victim)
        world.wait_until("the full member ends", ended_by_it(victim))
        victim.power_cut()
        victim.power_on()
        healed(world, writer)
        assert victim.sh("test", "-e", f"{MOUNT}/.reserve").returncode == 1


def enlarge(world: World, machine: Machine) -> None:
    """As EC2's ModifyVolume and the agent's resize2fs do; mounted it needs a capability that a container may lack."""
    disk = machine.volume.disk
    world.wait_until("the kernel has let go of it", lambda: not output("losetup", "--associated", str(disk)))
    subprocess.run(["truncate", "--size=4G", disk], check=True)
    assert subprocess.run(["e2fsck", "-f", "-p", disk], check=False).returncode in (0, 1)
    output("resize2fs", str(disk))


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
