"""How soon etcd serves after a launch and after a power cut: real etcd and the agent's plan in network namespaces.

    python -m tests.bench.etcd_recovery [RUNS] [--write]

Not in these figures: a machine's firmware and kernel, EC2's attachment (2 to 10 s), an S3 further away than this disk.
tests/lab/test_etcd_survival.py prints the same of whole machines. Needs root, and a machine with nothing else to do.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.table import DOCUMENT, machine, markdown_table, replace_between
from tests.etcd_machines.stories import established
from tests.etcd_machines.world import Machine, World, world_of
from tests.etcd_machines.writer import Writer

THREE = ("a", "b", "c")
MARKS = (
    "<!-- python -m tests.bench.etcd_recovery --write writes from here -->\n",
    "<!-- to here: etcd recovery -->\n",
)
HEAD = ("what", "median", "worst", "runs", "longest pause of writes")
_LOOK_EVERY = 0.05


@dataclass(frozen=True)
class Measured:
    seconds: float
    pause: float | None = None  # between two acknowledged writes


def main(runs: int, *, write: bool) -> None:
    rows = [
        _row("launch of the only member, until etcd serves", [_launch(("a",)) for _ in range(runs)]),
        _row("launch of three at once, until all serve", [_launch(THREE) for _ in range(runs)]),
        _row("power cut of a follower, until all three serve", [_power_cut(_a_follower) for _ in range(runs)]),
        _row("power cut of the leader, until all three serve", [_power_cut(World.leader) for _ in range(runs)]),
        _row("power cut of all three, until all serve", [_power_cut_of_all() for _ in range(runs)]),
        _row("volume lost: an empty one, until it votes", [_volume_lost() for _ in range(runs)]),
    ]
    table = markdown_table(HEAD, rows)
    sys.stdout.write(table + "\n")
    if write:
        about = "".join(f"* {name}: {value}\n" for name, value in machine().items())
        DOCUMENT.write_text(replace_between(DOCUMENT.read_text(), MARKS, f"{table}\n{about}"))


def _row(name: str, measured: Sequence[Measured]) -> tuple[str, ...]:
    seconds = [one.seconds for one in measured]
    pauses = [one.pause for one in measured if one.pause is not None]
    shown = f"{statistics.median(pauses):.1f} s" if pauses else ""
    return name, f"{statistics.median(seconds):.1f} s", f"{max(seconds):.1f} s", f"{len(measured)}", shown


def _launch(members: Sequence[str]) -> Measured:
    with tempfile.TemporaryDirectory(prefix="bench-etcd-") as name, world_of(Path(name) / "world", members) as world:
        machines = world.one_of_each()
        begun = time.monotonic()
        for one in machines:
            one.power_on()
        return Measured(_until_all_serve(world, begun))


def _power_cut(choose: Callable[[World], Machine]) -> Measured:
    def cut(world: World) -> None:
        victim = choose(world)
        victim.power_cut()
        victim.power_on()

    return _recovery(cut)


def _power_cut_of_all() -> Measured:
    def cut(world: World) -> None:
        victims = world.running()
        for victim in victims:
            victim.power_cut()
        for victim in victims:
            victim.power_on()

    return _recovery(cut)


def _volume_lost() -> Measured:
    def lose(world: World) -> None:
        _a_follower(world).power_cut()
        (member,) = {*THREE} - {one.volume.member for one in world.running()}
        world.machine(world.volume(member)).power_on()

    return _recovery(lose)


def _recovery(trouble: Callable[[World], None]) -> Measured:
    with tempfile.TemporaryDirectory(prefix="bench-etcd-") as name, world_of(Path(name) / "world", THREE) as world:
        established(world)
        with Writer(world) as writer:
            writer.wait_for_more(20)
            writer.longest_gap = 0.0
            begun = time.monotonic()
            trouble(world)
            seconds = _until_all_serve(world, begun)
            writer.wait_for_more()
        return Measured(seconds, writer.longest_gap)


def _a_follower(world: World) -> Machine:
    leading = world.leader()
    return next(one for one in world.running() if one is not leading)


def _until_all_serve(world: World, begun: float) -> float:
    """Until the agent of each calls itself ready and its member answers with a quorum behind it."""
    waiting = list(world.running())
    while waiting:
        waiting = [one for one in waiting if not (one.is_ready and world.serves(one))]
        time.sleep(_LOOK_EVERY)
    return time.monotonic() - begun


if __name__ == "__main__":
    chosen = [argument for argument in sys.argv[1:] if argument.isdigit()]
    main(int(chosen[0]) if chosen else 3, write="--write" in sys.argv)
