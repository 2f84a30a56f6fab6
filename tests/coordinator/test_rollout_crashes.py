"""A coordinator killed between any two writes, whatever it was doing, and overtaken by another, whatever that does."""

import itertools
from pathlib import Path

import pytest

from coordinator.store import Store
from tests.coordinator import scenes
from tests.coordinator.fleet import FleetDouble
from tests.coordinator.scenes import Act, RacedStoreDouble, picture, scene
from tests.coordinator.workshop import Crash, Fuse
from units.errors import BootwrightError, Retryable

pytestmark = pytest.mark.slow  # hundreds of signed commits

STEPS: tuple[tuple[str, Act], ...] = (
    ("wave_is_done", scenes.advance),
    ("last_wave_is_done", scenes.advance),
    ("canary_failed", scenes.advance),
    ("failed_and_to_be_taken_back", scenes.advance),
    ("halt_object_lies_there", scenes.advance),
    ("control_plane_is_done_and_workers_wait", scenes.advance),
    ("control_plane_is_done_and_workers_wait", scenes.abort_the_control_plane),
    ("wave_is_done", scenes.pause),
    ("paused", scenes.resume),
    ("wave_is_done", scenes.abort),
    ("wave_is_done", scenes.publish_another),
    ("at_rest", scenes.publish_another),
    ("at_rest", scenes.roll_back),
)
ACTS: tuple[Act, ...] = (
    scenes.advance,
    scenes.pause,
    scenes.abort,
    scenes.publish_another,
    scenes.halt,
)


@pytest.mark.parametrize("after", [False, True], ids=["before-the-write", "after-the-write"])
@pytest.mark.parametrize(("name", "act"), STEPS, ids=[f"{act.__name__}-{name}" for name, act in STEPS])
def test_killed_at_every_write_it_has_done_all_or_nothing_and_done_again_it_is_done(
    name: str, act: Act, after: bool, tmp_path: Path
) -> None:
    found = scene(tmp_path / "source", name)
    before = picture(found.opened(tmp_path / "before"))
    whole = found.opened(tmp_path / "whole")
    act(whole)
    done = picture(whole)
    assert done != before
    for writes in itertools.count(1):
        place = tmp_path / f"killed-{writes}"
        try:
            act(found.opened(place, fuse=Fuse(writes, after=after)))
        except Crash:
            survivor = found.opened(place)
            left = picture(survivor)
            assert left in (before, done)
            if left == before:
                act(survivor)
                assert picture(survivor) == done
        else:
            assert writes > 4  # a release, targets, snapshot, timestamp
            return


@pytest.mark.parametrize("moment", ["", "timestamp.json"], ids=["before-its-first-write", "before-its-commit"])
@pytest.mark.parametrize("rival", ACTS, ids=lambda act: f"by-{act.__name__}")
@pytest.mark.parametrize("act", [one for one in ACTS if one is not scenes.halt], ids=lambda act: act.__name__)
def test_overtaken_it_does_what_it_would_have_done_afterwards_or_says_try_again(
    act: Act, rival: Act, moment: str, tmp_path: Path
) -> None:
    """No lost update: nobody's wave is opened over an abort, no candidate comes back that was replaced."""
    found = scene(tmp_path / "source", "wave_is_done")
    one_after_the_other = found.opened(tmp_path / "turns")
    rival(one_after_the_other)
    only_the_rival = picture(one_after_the_other)
    expected = _said(act, one_after_the_other)
    in_turns = picture(one_after_the_other)

    place = tmp_path / "raced"
    found.opened(place)
    stores: list[RacedStoreDouble] = []

    def raced(store: Store) -> RacedStoreDouble:
        stores.append(RacedStoreDouble(store, moment, lambda: rival(found.opened(place))))
        return stores[0]

    said = _said(act, found.opened(place, store=raced))
    assert stores[0].raced
    left = picture(found.opened(place))
    if said == Retryable.__name__:
        assert left == only_the_rival
    elif rival is scenes.halt:  # nothing signed, so the wave opens; its nodes see the halt, and so does the next step
        assert left[1] == in_turns[1] == ["halt/workers"]
        later = found.opened(place)
        later.advance()
        assert later.standing()[2] in ("", "paused")
    else:
        assert (said, left) == (expected, in_turns)


def _said(act: Act, fleet: FleetDouble) -> str:
    try:
        act(fleet)
    except BootwrightError as error:
        return type(error).__name__
    return "done"
