"""Moments in the life of rollouts, and all that an operator can do in them; each may be struck, raced and repeated."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from coordinator.directory_store import DirectoryStore
from coordinator.publish import PublishRequest
from coordinator.rollouts import Terms
from coordinator.rollouts_back import RollbackRequest, prepare_rollback
from coordinator.rollouts_halts import Halt, put_halts
from coordinator.state import Lifetimes
from coordinator.store import Listed, Progress, Store, Stored, no_progress
from tests.coordinator.fleet import FleetDouble, preview_double
from tests.coordinator.workshop import CLUSTER, ClockDouble, Fuse, Workshop

GROUPS = {"cp": "control-plane", "workers": "node"}
WORKERS = 8

Act = Callable[[FleetDouble], object]


def advance(fleet: FleetDouble) -> object:
    return fleet.advance()


def pause(fleet: FleetDouble) -> object:
    return fleet.order("pause", "workers")


def resume(fleet: FleetDouble) -> object:
    return fleet.order("resume", "workers")


def abort(fleet: FleetDouble) -> object:
    return fleet.order("abort", "workers")


def abort_the_control_plane(fleet: FleetDouble) -> object:
    return fleet.order("abort", "cp")


def publish_another(fleet: FleetDouble) -> object:
    return fleet.publish(workers="9")


def roll_back(fleet: FleetDouble) -> object:
    request = RollbackRequest(PublishRequest(CLUSTER, None, Lifetimes()), ("workers",))
    found = prepare_rollback(request, fleet.workshop.repository, preview_double, fleet.clock)
    return None if found.is_empty else fleet.sign(found)


def halt(fleet: FleetDouble) -> object:
    put_halts(fleet.workshop.store, ["workers"], Halt(who="ann"))
    return None


@dataclass(frozen=True)
class Scene:
    """A copy of the same store and desk each time it is opened."""

    source: Path
    now: ClockDouble
    terms: Terms
    versions: dict[str, str]

    def opened(
        self, place: Path, *, fuse: Fuse | None = None, store: Callable[[Store], Store] | None = None
    ) -> FleetDouble:
        if not place.exists():
            shutil.copytree(self.source, place, symlinks=True)
        plain: Store = DirectoryStore(place / "store")
        clock = ClockDouble()
        clock.now = self.now.now
        workshop = Workshop(place / "keys", store(plain) if store else plain, clock, fuse)
        fleet = FleetDouble(workshop, GROUPS, terms=self.terms)
        fleet.versions = dict(self.versions)
        return fleet


def scene(source: Path, name: str) -> Scene:
    """`name`: one of the functions below."""
    clock = ClockDouble()
    workshop = Workshop(source / "keys", DirectoryStore(source / "store"), clock)
    workshop.found()
    terms = Terms(auto_rollback=name == "failed_and_to_be_taken_back")
    fleet = FleetDouble(workshop, GROUPS, terms=terms)
    fleet.publish()
    fleet.publish(workers="2")
    fleet.live(1, "cp")
    ids = fleet.live(WORKERS)
    SCENES[name](fleet, ids)
    return Scene(source, clock, terms, dict(fleet.versions))


def at_rest(_fleet: FleetDouble, _ids: list[str]) -> None:
    """No rollout; version 1 was stable before."""


def wave_is_done(fleet: FleetDouble, ids: list[str]) -> None:
    fleet.publish(workers="3")
    fleet.take(ids)
    fleet.clock.advance(seconds=300)


def last_wave_is_done(fleet: FleetDouble, ids: list[str]) -> None:
    wave_is_done(fleet, ids)
    while (rollout := fleet.release().rollout) is not None and rollout.open + 1 < len(rollout.waves):
        fleet.advance()
        fleet.take(ids)
        fleet.clock.advance(seconds=300)


def canary_failed(fleet: FleetDouble, ids: list[str]) -> None:
    fleet.publish(workers="3")
    fleet.mark("failed", fleet.members(ids)[0])


failed_and_to_be_taken_back = canary_failed


def halt_object_lies_there(fleet: FleetDouble, ids: list[str]) -> None:
    wave_is_done(fleet, ids)
    halt(fleet)


def paused(fleet: FleetDouble, ids: list[str]) -> None:
    wave_is_done(fleet, ids)
    pause(fleet)


def control_plane_is_done_and_workers_wait(fleet: FleetDouble, _ids: list[str]) -> None:
    fleet.publish(cp="3", workers="3")
    fleet.mark("ok", "i-cp-0000", "cp")
    fleet.clock.advance(seconds=300)


SCENES: dict[str, Callable[[FleetDouble, list[str]], None]] = {
    "at_rest": at_rest,
    "wave_is_done": wave_is_done,
    "last_wave_is_done": last_wave_is_done,
    "canary_failed": canary_failed,
    "failed_and_to_be_taken_back": failed_and_to_be_taken_back,
    "halt_object_lies_there": halt_object_lies_there,
    "paused": paused,
    "control_plane_is_done_and_workers_wait": control_plane_is_done_and_workers_wait,
}


def picture(fleet: FleetDouble) -> tuple[object, ...]:
    """All that nodes see of rollouts: every group's release, the serial, the halt objects."""
    state = fleet.workshop.repository.read()
    halts = [item.key for item in fleet.workshop.store.list("halt/")]
    releases = [(group, fleet.standing(group), fleet.release(group).serial) for group in sorted(state.groups)]
    return state.note.serial, halts, releases


class RacedStoreDouble:
    """A real store, whose user is overtaken just before a write of his."""

    def __init__(self, store: Store, before: str, rival: Callable[[], object]) -> None:
        """`before`: what the key ends with; the first such write is raced, and no other."""
        self._store, self._before, self._rival = store, before, rival
        self.raced = False
        self.url = store.url

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        if key.endswith(self._before) and not self.raced:
            self.raced = True
            self._rival()
        return self._store.put(key, body, if_none_match=if_none_match, if_match=if_match)

    def get(self, key: str, *, limit: int = 8 * 1024 * 1024) -> Stored | None:
        return self._store.get(key, limit=limit)

    def put_file(self, key: str, path: Path, *, sha256: str, progress: Progress = no_progress) -> None:
        self._store.put_file(key, path, sha256=sha256, progress=progress)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def size(self, key: str) -> int | None:
        return self._store.size(key)

    def list(self, prefix: str) -> Iterator[Listed]:
        return self._store.list(prefix)
