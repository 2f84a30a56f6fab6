"""The simulation is worth something only if it does what the rules say."""

from itertools import pairwise

import pytest

from tests.sim.fleet import Scenario, simulate


@pytest.mark.parametrize("nodes", [1, 10, 1000])
def test_a_good_manifest_reaches_everyone_once(nodes: int) -> None:
    outcome = simulate(Scenario(nodes))
    assert (outcome.finished, outcome.touched, outcome.failed) == (True, nodes, 0)
    assert sum(size for size, _at in outcome.waves) == nodes
    assert outcome.requests["PUT"] == 3 * nodes


@pytest.mark.parametrize("nodes", [1, 10, 1000])
def test_a_manifest_that_fails_everywhere_touches_one_machine(nodes: int) -> None:
    outcome = simulate(Scenario(nodes, bad=1.0))
    assert outcome.halted
    assert (outcome.touched, outcome.failed) == (1, 1)


@pytest.mark.parametrize("seed", range(10))
def test_a_manifest_that_fails_half_the_time_never_reaches_the_large_waves(seed: int) -> None:
    outcome = simulate(Scenario(1000, bad=0.5, seed=seed))
    assert outcome.halted
    assert outcome.touched <= 1 + 3 + 96


def test_a_wave_opens_only_after_the_bake_time() -> None:
    outcome = simulate(Scenario(100, bake_seconds=900.0))
    opened = [at for _size, at in outcome.waves]
    assert all(later - earlier >= 900.0 for earlier, later in pairwise(opened))


def test_the_same_seed_is_the_same_run() -> None:
    assert simulate(Scenario(200, bad=0.01, seed=3)) == simulate(Scenario(200, bad=0.01, seed=3))
