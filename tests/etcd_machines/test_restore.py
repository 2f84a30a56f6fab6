"""A restore over several members, begun with the operator's own command: the backup comes back, watchers begin anew."""

import json
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.etcd_machines.machine import API_POD, MOUNT
from tests.etcd_machines.stories import established
from tests.etcd_machines.world import Machine, World
from units.etcd_restore import DATA, MARK

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

THREE = ("a", "b", "c")
BUMP = 1_000_000_000
MakeWorld = Callable[..., World]


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return backed_up(make_world(THREE, rounds=1.0))


def backed_up(world: World) -> World:
    """It stands, and its backup holds `before`, but not `after`."""
    established(world)
    world.put(world.running()[0], "before", "kept")
    world.back_up()
    world.put(world.running()[0], "after", "lost")
    return world


def restore(world: World) -> None:
    world.coordinator(*restoring(world))


def restoring(world: World) -> tuple[str, ...]:
    return "etcd", "restore", "--etcd", "main", "--backup", world.backups[-1], "--yes"


def is_restored(world: World, generation: int = 2, members: Sequence[str] = THREE) -> None:
    """Every member votes in one cluster of this generation, which holds what the backup had, far ahead in revisions."""

    def stands() -> bool:
        record = world.record
        return (record.state, record.generation, record.started) == ("established", generation, tuple(members))

    world.wait_until("the generation is established by all its members", stands)
    world.wait_until_ready()
    assert len(world.cluster_ids()) == 1
    for machine in world.running():
        assert sorted(one["name"] for one in world.member_list(machine)) == sorted(members)
        assert world.get(machine, "before") == "kept"
        assert world.get(machine, "after") == ""
        assert world.get(machine, "/bootwright/cluster") == world.record.token
        assert revision(world, machine) > BUMP * (generation - 1)
        # In the data that was restored, or beside that of a member which joined once the generation stood.
        marks = (machine.sh("cat", f"{MOUNT}/{name}").stdout for name in (f"{DATA}/{MARK}", ".bootstrap.json"))
        assert json.loads(next(filter(None, marks)))["generation"] == generation
        assert machine.sh("stat", "-c", "%U:%a", f"{MOUNT}/{DATA}").stdout.strip() == "etcd:700"
    assert world.record.volumes == {machine.volume.member: machine.volume.volume_id for machine in world.running()}
    world.put(world.running()[0], "taken", "again")


def revision(world: World, machine: Machine) -> int:
    said = json.loads(world.etcdctl(machine, "endpoint", "status", "-w", "json").stdout)
    return int(said[0]["Status"]["header"]["revision"])


@contextmanager
def watching(world: World, machine: Machine, since: int = 0) -> Iterator["subprocess.Popen[str]"]:
    """A client that saw the cluster as it was, and goes on from there, as an API server's watch cache does."""
    command = world.etcdctl_command(machine, "watch", "before", f"--rev={since or revision(world, machine)}")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={}) as watcher:
        try:
            yield watcher
        finally:
            watcher.kill()


def test_a_restore_brings_every_member_back_to_the_backup_and_watchers_relist(world: World) -> None:
    survivor = world.holder("a")
    with watching(world, survivor) as watcher:
        shown = world.coordinator("etcd", "restore", "--backup", world.backups[-1])
        assert "nothing was changed" in shown
        assert world.record.generation == 1
        restore(world)
        is_restored(world)
        said, _ = watcher.communicate(timeout=60)
    assert "required revision has been compacted" in said
    for machine in world.running():
        assert machine.sh("ls", str(MOUNT)).stdout.split().count("data.g1") == 1, "old data is kept aside"
        assert machine.sh("ls", str(API_POD)).returncode == 0, "API servers run again"


@pytest.mark.parametrize("survivor", ["serves on", "is away"])
def test_two_of_three_volumes_lost_start_nothing_until_the_restore(world: World, survivor: str) -> None:
    lost = [world.holder("b"), world.holder("c")]
    for machine in lost if survivor == "serves on" else world.running():
        machine.power_cut()
    heirs = [world.machine(world.volume(machine.volume.member)) for machine in lost]
    for heir in heirs:
        heir.power_on()

    def told() -> bool:
        return all("coordinator etcd restore --etcd main --backup latest" in h.status.get("remedy", "") for h in heirs)

    world.wait_until("both say what to do", told)
    for heir in heirs:
        assert heir.log == "", "etcd was started"
    first = world.machines[0]
    if first.process is not None:
        restore(world)
        is_restored(world)
        with watching(world, first, since=2) as watcher:  # that was cancelled as the quorum went; now it goes on
            said, _ = watcher.communicate(timeout=60)
        assert "required revision has been compacted" in said
        return
    restore(world)
    world.wait_until("the two form the restored generation", lambda: world.record.started == ("b", "c"))
    first.power_on()
    is_restored(world)


@pytest.mark.nightly
def test_a_member_that_was_away_follows_when_it_comes_back(world: World) -> None:
    away = world.holder("c")
    away.power_cut()
    restore(world)
    world.wait_until("the two others stand", lambda: world.record.started == ("a", "b"))
    world.wait_until_ready()
    away.power_on()
    is_restored(world)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(2))
def test_power_cuts_at_any_moment_of_a_restore_leave_one_restored_cluster(world: World, seed: int) -> None:
    chance = random.Random(seed)
    restore(world)
    for _cut in range(3):
        time.sleep(chance.uniform(0.0, 4.0))
        victims = world.running() if chance.random() < 0.5 else [chance.choice(world.running())]
        for machine in victims:
            machine.power_cut()
        time.sleep(chance.uniform(0.0, 1.0))
        for machine in victims:
            machine.power_on()
    is_restored(world)


def test_a_single_member_that_lost_its_volume_is_restored_onto_a_blank_one(make_world: MakeWorld) -> None:
    world = backed_up(make_world(("a",), rounds=1.0))
    world.holder("a").power_cut()
    heir = world.machine(world.volume("a"))
    heir.power_on()
    world.wait_until("it waits", lambda: heir.status.get("stage") == "retrying")
    restore(world)
    is_restored(world, members=("a",))


@pytest.mark.nightly
def test_a_second_restore_overtakes_the_first_while_members_are_at_it(world: World) -> None:
    """The command refuses what changed since it was shown: the operator looks again."""
    restore(world)
    while (done := world.try_coordinator(*restoring(world))).returncode == 3:
        assert "etcd-record-changed" in done.stderr
    assert done.returncode == 0, done.stderr
    is_restored(world, generation=3)
