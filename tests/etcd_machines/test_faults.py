"""What a cluster meets while somebody writes: each is survived without a lost write, heals, and is named meanwhile.

Minutes are compressed here: what lasts is a few of etcd's own election timeouts (1 s) and of the machines' rounds (1 s
instead of 5 min). The lab has the full length (tests/lab/test_etcd_faults.py).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.etcd_machines.stories import established, healed
from tests.etcd_machines.world import Machine, World, world_of
from tests.etcd_machines.writer import Writer

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(900)]

THREE = ("a", "b", "c")
MIB = 1024**2
LASTS = 12.0  # seconds of a split or an outage
MakeWorld = Callable[..., World]


@dataclass
class Kept:
    """One cluster for many stories: each begins with a whole one and leaves it so; after a failure it is another."""

    folder: Path
    stack: ExitStack
    made: int = 0
    world: World | None = None

    def whole(self) -> World:
        if self.world is None or not is_whole(self.world):
            self.made += 1
            self.stack.close()
            self.world = self.stack.enter_context(world_of(self.folder / f"{self.made}", THREE, rounds=1.0))
            established(self.world)
        return calm(self.world)


def is_whole(world: World) -> bool:
    machines = world.running()
    return len(machines) == len(THREE) and all(m.is_ready and world.serves(m) for m in machines)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    with ExitStack() as stack:
        yield Kept(tmp_path_factory.mktemp("faults"), stack)


@pytest.fixture
def world(kept: Kept) -> World:
    return kept.whole()


def calm(world: World) -> World:
    """What was told of the formation is past."""
    world.wait_until(
        "nobody complains", lambda: all(m.etcd_seen.get("ready") and is_silent(m) for m in world.running())
    )
    return world


def says(machine: Machine, code: str) -> Callable[[], bool]:
    return lambda: code in machine.conditions


def is_silent(machine: Machine) -> bool:
    return not {"etcd-member-unhealthy", "etcd-no-quorum", "etcd-no-space", "etcd-disk-full"} & set(machine.conditions)


def lasting(world: World, writer: Writer, seconds: float = LASTS) -> None:
    """The trouble goes on, and so do the writes."""
    world.pass_time(seconds)
    writer.wait_for_more(10)


@pytest.mark.parametrize("whom", [pytest.param("a follower", marks=pytest.mark.nightly), "the leader"])
def test_a_network_split_takes_no_writes_on_the_smaller_side_and_both_sides_say_so(world: World, whom: str) -> None:
    with Writer(world) as writer:
        writer.wait_for_more()
        leading = world.leader()
        cut_off = leading if whom == "the leader" else next(m for m in world.running() if m is not leading)
        others = [machine for machine in world.running() if machine is not cut_off]
        cut_off.socket.unplug()
        world.wait_until("the smaller side names it", says(cut_off, "etcd-no-quorum"))
        for other in others:
            world.wait_until("the larger side names it", says(other, "etcd-member-unhealthy"))
            assert (
                f"member {cut_off.volume.member} is not healthy" in other.conditions["etcd-member-unhealthy"]["message"]
            )
            assert other.etcd_seen["ready"]
        assert not cut_off.etcd_seen["ready"]
        refused = cut_off.sh("etcdctl", *world.client_flags("https://127.0.0.1:2379"), "put", "from-the-island", "1")
        assert refused.returncode != 0
        lasting(world, writer)
        cut_off.socket.plug()
        healed(world, writer)
        calm(world)
    assert world.get(cut_off, "from-the-island") == ""


@pytest.mark.nightly
def test_all_links_down_at_once_and_back(world: World) -> None:
    with Writer(world) as writer:
        writer.wait_for_more()
        for machine in world.running():
            machine.socket.unplug()
        for machine in world.running():
            world.wait_until("it names the lost quorum", says(machine, "etcd-no-quorum"))
        for machine in world.running():
            machine.socket.plug()
        healed(world, writer)


@pytest.mark.parametrize("api", ["S3 hangs", pytest.param("EC2 is down", marks=pytest.mark.nightly)])
def test_without_an_api_the_cluster_serves_and_a_machine_even_reboots(world: World, api: str) -> None:
    with Writer(world) as writer:
        writer.wait_for_more()
        down, up = (
            (lambda: world.bucket.down(hangs=2.0), world.bucket.up)
            if api == "S3 hangs"
            else (world.ebs.down, world.ebs.up)
        )
        down()
        lasting(world, writer)
        rebooted = world.leader()
        rebooted.power_cut()
        rebooted.power_on()
        world.wait_until_ready(rebooted)
        if api == "S3 hangs":
            world.wait_until("status says so", lambda: "bucket" in rebooted.etcd_seen.get("backup_problem", ""))
        lasting(world, writer, 3.0)
        up()
        healed(world, writer)
        world.back_up()


def test_a_new_machine_waits_for_ec2_by_name_and_for_s3_too(world: World) -> None:
    with Writer(world) as writer:
        writer.wait_for_more()
        former = world.holder("b")
        former.power_cut()
        world.ebs.down()
        heir = world.machine(former.volume)
        heir.power_on()
        world.wait_until("it waits for EC2", lambda: "EC2 does not answer" in str(heir.status))
        world.bucket.down(hangs=1.0)
        world.ebs.up()
        lasting(world, writer, 5.0)
        world.bucket.up()
        healed(world, writer)


@pytest.fixture
def small(make_world: MakeWorld) -> World:
    """Volumes with an end: ext4 of 600 MB, too small for a reserve."""
    return calm(established(make_world(THREE, rounds=1.0), megabytes=600))


@pytest.mark.parametrize("whom", [pytest.param("a follower", marks=pytest.mark.nightly), "the leader"])
def test_a_full_disk_ends_one_member_that_says_why_and_comes_back_with_room(small: World, whom: str) -> None:
    with Writer(small) as writer:
        writer.wait_for_more()
        leading = small.leader()
        victim = leading if whom == "the leader" else next(m for m in small.running() if m is not leading)
        fill(victim)
        small.wait_until("its status names the disk", says(victim, "etcd-disk-full"))
        told = victim.conditions["etcd-disk-full"]
        assert "MiB free; etcd needs 64 for its next piece of log" in told["message"]
        assert told["remedy"].startswith("aws ec2 modify-volume --volume-id vol-")
        assert "etcd-no-reserve" not in victim.conditions
        write_until(small, lambda: not victim.etcd_seen["ready"])
        lasting(small, writer)
        victim.sh("rm", "/var/lib/etcd/main/ballast")
        healed(small, writer)
        small.wait_until("it is calm", lambda: is_silent(victim))
        assert "too small for a reserve" in victim.conditions["etcd-no-reserve"]["message"]


def fill(machine: Machine) -> None:
    done = machine.sh("dd", "if=/dev/zero", "of=/var/lib/etcd/main/ballast", "bs=1M")
    assert "No space left" in done.stderr


def write_until(world: World, condition: Callable[[], bool]) -> None:
    """Values as large as etcd takes them: what room etcd has taken for itself beforehand is used up."""

    def wrote() -> bool:
        world.put_large("ballast", MIB)
        return condition()

    world.wait_until("the full member ends", wrote)


def test_a_full_database_is_compacted_defragmented_and_freed_in_this_order(make_world: MakeWorld) -> None:
    """One member is away all the time: the others take writes again without it, and it fits in when it comes back."""
    world = established(make_world(THREE, rounds=1.0, quota=20 * MIB, care=False))
    with Writer(world) as writer:
        writer.wait_for_more()
        away = next(machine for machine in world.running() if machine is not world.leader())
        away.power_cut()
        while "database space exceeded" not in world.put_large("history", MIB).stderr:
            assert len(writer.acknowledged) < 10_000
        leading = world.leader()
        world.wait_until("the status names it", says(leading, "etcd-no-space"))
        assert leading.etcd_seen["alarms"]
        assert not leading.etcd_seen["ready"]
        world.care()
        writer.wait_for_more()
        world.wait_until("the log tells what was done", lambda: len(done(world)) >= 4)
        assert done(world)[:4] == ["compacted", "defragmented", "defragmented", "disarmed"]
        away.power_on()
        healed(world, writer)
        calm(world)


def done(world: World) -> list[str]:
    """First words of what the rounds of care did, on whatever machine led."""
    lines = [line for machine in world.running() for line in machine.agent_log.splitlines()]
    return [line.split("etcd main: ")[1].split()[0] for line in lines if "rounds: etcd main: " in line]


@pytest.mark.parametrize("seconds", [3600, pytest.param(-3600, marks=pytest.mark.nightly)], ids=["ahead", "behind"])
def test_an_agents_clock_that_steps_by_an_hour_breaks_no_connection(world: World, seconds: int) -> None:
    """The agent's clock alone, which dates certificates. etcd's own is the kernel's, stepped in the lab."""
    with Writer(world) as writer:
        writer.wait_for_more()
        stepped = world.holder("b")
        world.step_clock(stepped, seconds)
        stepped.power_cut()
        stepped.power_on()
        world.wait_until_ready(stepped)
        old = world.holder("c")
        old.power_cut()
        heir = world.machine(old.volume)  # with certificates of its own, by a clock that is off
        world.step_clock(heir, seconds)
        heir.power_on()
        healed(world, writer)
        for machine in (stepped, heir):
            world.step_clock(machine, 0)
            machine.power_cut()
            machine.power_on()
            world.wait_until_ready(machine)
        healed(world, writer)


def test_of_two_candidates_for_one_volume_the_second_waits_by_name_and_takes_over(world: World) -> None:
    with Writer(world) as writer:
        writer.wait_for_more()
        holder = world.holder("b")
        second = world.machine(holder.volume)
        second.power_on()
        held = f"{holder.volume.volume_id} is held by {holder.instance} (running)"
        world.wait_until("it names the holder", lambda: held in second.status.get("waiting_for", ""))
        writer.wait_for_more()
        assert len(world.member_list(holder)) == 3
        holder.terminate()
        world.wait_until_ready(second)
        healed(world, writer)


def test_an_old_holder_that_hangs_in_stopping_is_waited_for_and_never_robbed(world: World) -> None:
    with Writer(world) as writer:
        writer.wait_for_more()
        holder = world.holder("c")
        holder.power_cut()
        world.ebs.set_instance(holder.instance, "stopping")
        heir = world.machine(holder.volume, former_end=False)
        heir.power_on()
        held = f"{holder.volume.volume_id} is held by {holder.instance} (stopping)"
        world.wait_until("it names the holder", lambda: held in heir.status.get("waiting_for", ""))
        lasting(world, writer, 5.0)
        assert world.ebs.holder(holder.volume.volume_id) == holder.instance
        world.ebs.set_instance(holder.instance, "terminated")
        world.wait_until_ready(heir)
        healed(world, writer)
