"""Members of a new cluster find each other with nobody coordinating them, in any order, also when the power goes."""

import itertools
import os
import random
import time
from collections.abc import Callable, Sequence

import pytest

from tests.etcd_machines.world import Machine, World

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

THREE, FIVE = ("a", "b", "c"), ("a", "b", "c", "d", "e")
SEEDS = int(os.environ.get("BOOTWRIGHT_ETCD_SEEDS", "3"))  # 20 in the nightly run
MakeWorld = Callable[..., World]


def is_one_whole_cluster(world: World) -> None:
    """One cluster id, every member in it and voting, nothing lost of what one of them took."""
    machines = world.running()
    assert len(world.cluster_ids()) == 1
    for machine in machines:
        listed = world.member_list(machine)
        assert sorted(one["name"] for one in listed) == sorted(world.members), world.described()
        assert not any(one.get("isLearner") for one in listed)
    world.put(machines[0], "whole", "yes")
    assert [world.get(machine, "whole") for machine in machines] == ["yes"] * len(machines)
    record = world.record
    assert (record.state, record.generation, record.replacing) == ("established", 1, None)
    assert record.started == tuple(sorted(world.members))
    assert record.volumes == {machine.volume.member: machine.volume.volume_id for machine in machines}


@pytest.mark.parametrize("members", [("a",), THREE, FIVE], ids=["one", "three", "five"])
def test_a_cluster_forms_from_nothing(make_world: MakeWorld, members: Sequence[str]) -> None:
    world = make_world(members)
    for machine in world.one_of_each():
        machine.power_on()
    world.wait_until_ready()
    is_one_whole_cluster(world)


@pytest.mark.parametrize("order", list(itertools.permutations(THREE))[::2], ids="".join)
def test_in_any_order_the_third_comes_when_the_others_have_formed_a_quorum(
    make_world: MakeWorld, order: Sequence[str]
) -> None:
    """Measured again here: `existing`, no data, listed from the start and never seen: it gets the log of the leader."""
    world = make_world(THREE)
    machines = {machine.volume.member: machine for machine in world.one_of_each()}
    first, second, third = (machines[name] for name in order)
    first.power_on()
    world.wait_until("the first waits for another", lambda: "waiting for" in first.status.get("waiting_for", ""))
    second.power_on()
    world.wait_until_ready(first, second)
    world.put(first, "before", "the-third")
    third.power_on()
    world.wait_until_ready(third)
    assert '"initial-cluster-state":"existing"' in third.log
    assert world.get(third, "before") == "the-third"
    is_one_whole_cluster(world)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_power_cuts_at_any_moment_of_the_formation_leave_one_whole_cluster(make_world: MakeWorld, seed: int) -> None:
    """Each machine starts at a moment of its own; then all lose power at once, a few times, then one by one."""
    chance = random.Random(seed)
    world = make_world(THREE)
    machines = world.one_of_each()
    for _cut in range(chance.randint(1, 3)):
        _start_in_some_order(machines, chance)
        time.sleep(chance.uniform(0.0, 8.0))
        for machine in machines:
            machine.power_cut()
    _start_in_some_order(machines, chance)
    for _cut in range(3):
        time.sleep(chance.uniform(0.0, 4.0))
        victim = chance.choice(machines)
        victim.power_cut()
        victim.power_on()
    world.wait_until_ready(*machines)
    is_one_whole_cluster(world)


def _start_in_some_order(machines: list[Machine], chance: random.Random) -> None:
    for machine in chance.sample(machines, len(machines)):
        machine.power_on()
        time.sleep(chance.uniform(0.0, 2.0))
