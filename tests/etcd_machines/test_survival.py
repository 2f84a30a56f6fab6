"""What an established cluster survives while somebody writes all the time, and what it refuses to survive."""

import json
import time
from collections.abc import Callable

import pytest

from tests.etcd_machines.stories import established, healed
from tests.etcd_machines.world import World
from tests.etcd_machines.writer import Writer

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

THREE, FIVE = ("a", "b", "c"), ("a", "b", "c", "d", "e")
MakeWorld = Callable[..., World]


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return established(make_world(THREE))


@pytest.mark.parametrize("whom", ["a follower", "the leader", "all at once"])
def test_a_power_cut_loses_nothing_that_was_acknowledged(world: World, whom: str) -> None:
    with Writer(world) as writer:
        writer.wait_for_more()
        leading = world.leader()
        followers = [machine for machine in world.running() if machine is not leading]
        victims = {"a follower": followers[:1], "the leader": [leading], "all at once": world.running()}[whom]
        for machine in victims:
            machine.power_cut()
        if whom != "all at once":
            writer.wait_for_more()
        for machine in victims:
            machine.power_on()
        healed(world, writer)


def test_a_volume_moves_to_another_machine_with_another_address_and_its_peers_find_it(world: World) -> None:
    """Identity follows the volume: same member id, no change of members, names by way of the store."""
    before = {one["ID"] for one in world.member_list(world.holder("a"))}
    with Writer(world) as writer:
        writer.wait_for_more()
        old = world.holder("b")
        old.power_cut()
        heir = world.machine(old.volume)
        heir.power_on()
        world.wait_until_ready(heir)
        healed(world, writer)
    assert {one["ID"] for one in world.member_list(heir)} == before
    told = json.loads(world.stored("etcd/main/members/b.json") or b"")
    assert (told["instance"], told["address"]) == (heir.instance, heir.socket.address)


@pytest.mark.nightly
def test_every_machine_is_replaced_one_after_the_other(world: World) -> None:
    """A rollout of machines: after it, nobody is at an address that the cluster was formed with."""
    first = {machine.socket.address for machine in world.running()}
    with Writer(world) as writer:
        for member in THREE:
            old = world.holder(member)
            old.power_cut()
            heir = world.machine(old.volume)
            heir.power_on()
            world.wait_until_ready(heir)
            healed(world, writer)
    assert not first & {machine.socket.address for machine in world.running()}


@pytest.mark.parametrize("whom", ["a follower", "the leader"])
def test_a_lost_volume_is_replaced_by_an_empty_one_without_a_hand(world: World, whom: str) -> None:
    with Writer(world) as writer:
        writer.wait_for_more()
        leading = world.leader()
        victim = leading if whom == "the leader" else next(m for m in world.running() if m is not leading)
        ids = {one["name"]: one["ID"] for one in world.member_list(leading)}
        victim.power_cut()
        writer.wait_for_more()
        heir = world.machine(world.volume(victim.volume.member))
        heir.power_on()
        world.wait_until_ready(heir)
        healed(world, writer)
    member = victim.volume.member
    now = {one["name"]: one["ID"] for one in world.member_list(heir)}
    assert now[member] != ids[member]
    assert {name: number for name, number in now.items() if name != member} == {
        name: number for name, number in ids.items() if name != member
    }
    assert world.record.volumes[member] == heir.volume.volume_id
    assert len(world.backups) == 1, "a backup before the members change"


@pytest.mark.nightly
def test_a_replacement_cut_off_again_and_again_comes_to_its_end(world: World) -> None:
    with Writer(world) as writer:
        writer.wait_for_more()
        world.holder("c").power_cut()
        heir = world.machine(world.volume("c"))
        for seconds in (0.8, 1.2, 1.6, 2.0, 2.4, 3.0, 4.0):
            heir.power_on()
            time.sleep(seconds)
            heir.power_cut()
        heir.power_on()
        world.wait_until_ready(heir)
        healed(world, writer)


@pytest.mark.nightly
def test_a_network_split_is_healed_and_the_cut_off_member_takes_no_writes(world: World) -> None:
    with Writer(world) as writer:
        writer.wait_for_more()
        cut_off = world.leader()
        cut_off.socket.unplug()
        writer.wait_for_more(10)
        cut_off.socket.plug()
        healed(world, writer)


@pytest.mark.nightly
def test_without_the_store_machines_come_back_as_they_were(world: World) -> None:
    with Writer(world) as writer:
        writer.wait_for_more()
        world.bucket.down()
        victim = world.holder("a")
        victim.power_cut()
        victim.power_on()
        world.wait_until_ready(victim)
        writer.wait_for_more()
        world.bucket.up()
        healed(world, writer)


@pytest.mark.nightly
def test_two_of_three_volumes_lost_start_nothing_and_name_the_restore(world: World) -> None:
    world.put(world.holder("a"), "precious", "data")
    lost = [world.holder("b"), world.holder("c")]
    for machine in lost:
        machine.power_cut()
    heirs = [world.machine(world.volume(machine.volume.member)) for machine in lost]
    for heir in heirs:
        heir.power_on()

    def told() -> bool:
        return all("coordinator etcd restore --etcd main" in heir.status.get("remedy", "") for heir in heirs)

    world.wait_until("both say what to do", told)
    time.sleep(5.0)
    for heir in heirs:
        assert heir.status["code"] in ("etcd-no-quorum", "etcd-unreachable"), heir.status
        assert heir.log == "", "etcd was started"
    survivor = world.holder("a")
    said = world.etcdctl(survivor, "get", "precious", "--consistency=s", "--print-value-only")
    assert said.stdout.strip() == "data"
    assert world.record.replacing is None


@pytest.mark.nightly
def test_two_of_three_lost_and_the_survivor_away_form_no_empty_cluster(world: World) -> None:
    """E2 of etcd-pki.md 2.3: with `new` they silently would, under the same cluster id."""
    for machine in list(world.running()):
        machine.power_cut()
    heirs = [world.machine(world.volume(member)) for member in ("b", "c")]
    for heir in heirs:
        heir.power_on()
    world.wait_until("both are asked about", lambda: all("code" in heir.status for heir in heirs))
    time.sleep(10.0)
    for heir in heirs:
        assert "coordinator etcd restore" in heir.status["remedy"]
        assert heir.log == "", "etcd was started"


@pytest.mark.nightly
def test_a_single_member_that_lost_its_volume_does_not_start_empty(make_world: MakeWorld) -> None:
    world = established(make_world(("a",)))
    world.holder("a").power_cut()
    heir = world.machine(world.volume("a"))
    heir.power_on()
    world.wait_until("it waits", lambda: heir.status.get("stage") == "retrying")
    assert heir.status["code"] == "etcd-volume-lost"
    assert "`coordinator etcd restore --etcd main --backup latest`" in heir.status["remedy"]
    assert heir.log == ""


@pytest.mark.nightly
def test_five_members_survive_the_loss_of_two_volumes_one_after_the_other(make_world: MakeWorld) -> None:
    world = established(make_world(FIVE))
    with Writer(world) as writer:
        for member in ("b", "d"):
            writer.wait_for_more()
            world.holder(member).power_cut()
            heir = world.machine(world.volume(member))
            heir.power_on()
            world.wait_until_ready(heir)
            healed(world, writer)
