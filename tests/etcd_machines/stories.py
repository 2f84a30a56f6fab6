"""How stories begin and end: a cluster that stands, and one that is whole again."""

from tests.etcd_machines.world import World
from tests.etcd_machines.writer import Writer


def established(world: World, *, megabytes: int | None = None) -> World:
    """`megabytes`: of each volume; a folder without an end if left out."""
    for machine in world.one_of_each(megabytes=megabytes):
        machine.power_on()
    world.wait_until_ready()
    return world


def healed(world: World, writer: Writer) -> None:
    """All members vote and agree, and whatever was acknowledged is on each of them."""
    world.wait_until_ready()
    for machine in world.running():
        world.wait_until(f"{machine.instance} serves", lambda m=machine: world.serves(m))  # type: ignore[misc]  # bound now
    writer.wait_for_more()
    assert len(world.cluster_ids()) == 1
    for machine in world.running():
        listed = world.member_list(machine)
        assert sorted(one["name"] for one in listed) == sorted(world.members), world.described()
        assert not any(one.get("isLearner") for one in listed)
        assert writer.lost_on(machine) == set()
    assert world.record.started == tuple(sorted(world.members))
    assert world.record.replacing is None
