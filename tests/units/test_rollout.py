"""The planner of waves and the node's decision, over generated fleets and events (peers.md 6.1: others erred)."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.units.sample import manifest
from units.manifest import ExtraFile, Release, Rollout, Wave, manifest_digest
from units.rollout import (
    EVERYONE,
    LiveNode,
    Outcomes,
    Situation,
    budget_of,
    cutoffs,
    decide,
    next_step,
    progress,
    rank,
    wave_of,
    wave_sizes,
)

NOW = "2026-11-23T00:00:00Z"
STABLE = manifest("node")
CANDIDATE = manifest("node", files=(ExtraFile(path="/etc/motd", content="new\n"),))
STABLE_DIGEST, CANDIDATE_DIGEST = manifest_digest(STABLE), manifest_digest(CANDIDATE)

fleets = st.lists(
    st.builds(LiveNode, st.from_regex(r"i-[0-9a-f]{17}", fullmatch=True), st.sampled_from(["a", "b", "c"])),
    unique_by=lambda node: node.instance_id,
    max_size=60,
)
serials = st.integers(min_value=1, max_value=10**6)


def rollout(serial: int, nodes: Sequence[LiveNode], *, one_at_a_time: bool = False, **changes: object) -> Rollout:
    found = cutoffs(serial, nodes, one_at_a_time=one_at_a_time)
    waves = []
    for number, cutoff in enumerate(found):
        members = sum(1 for node in nodes if rank(serial, node.instance_id) <= cutoff)
        waves.append(Wave(cutoff=cutoff, budget=budget_of(members, number, one_at_a_time=one_at_a_time)))
    return Rollout.model_validate({"serial": serial, "waves": waves, "opened": NOW, **changes})


def release(of: Rollout | None, serial: int = 10**6) -> Release:
    candidate = CANDIDATE if of else None
    return Release(serial=serial, published=NOW, stable=STABLE, candidate=candidate, rollout=of)


# --- the planner ---


@given(serials, fleets, st.booleans())
def test_cut_offs_rise_and_the_last_is_everyone(serial: int, nodes: list[LiveNode], one: bool) -> None:
    found = cutoffs(serial, nodes, one_at_a_time=one)
    assert list(found) == sorted(set(found))
    assert found[-1] == EVERYONE


@given(serials, fleets.filter(bool), st.booleans())
def test_no_wave_is_empty_and_the_first_is_one_machine(serial: int, nodes: list[LiveNode], one: bool) -> None:
    planned = rollout(serial, nodes, one_at_a_time=one)
    members = [wave_of(planned, node.instance_id) for node in nodes]
    assert set(members) == set(range(len(planned.waves)))
    assert members.count(0) == 1


@given(serials, fleets)
def test_a_control_plane_changes_one_machine_a_wave(serial: int, nodes: list[LiveNode]) -> None:
    planned = rollout(serial, nodes, one_at_a_time=True)
    members = [wave_of(planned, node.instance_id) for node in nodes]
    assert sorted(members) == list(range(len(nodes)))


@given(serials, fleets.filter(bool), fleets)
def test_machines_that_come_later_move_nobody(serial: int, nodes: list[LiveNode], later: list[LiveNode]) -> None:
    planned = rollout(serial, nodes)
    before = {node.instance_id: wave_of(planned, node.instance_id) for node in nodes}
    for node in later:
        assert 0 <= wave_of(planned, node.instance_id) < len(planned.waves)
    assert before == {node.instance_id: wave_of(planned, node.instance_id) for node in nodes}


@pytest.mark.parametrize(
    ("total", "sizes"),
    [(0, ()), (1, (1,)), (2, (1, 2)), (5, (1, 4, 5)), (40, (1, 4, 20, 40)), (1000, (1, 4, 100, 500, 1000))],
)
def test_waves_grow_as_documented(total: int, sizes: tuple[int, ...]) -> None:
    assert wave_sizes(total, 3, one_at_a_time=False) == sizes


def test_an_empty_group_has_one_wave_for_whoever_comes() -> None:
    assert cutoffs(7, (), one_at_a_time=False) == (EVERYONE,)


def test_each_rollout_has_other_canaries() -> None:
    nodes = [LiveNode(f"i-{number:017x}", "a") for number in range(50)]
    canaries = {min(nodes, key=lambda node: rank(serial, node.instance_id)).instance_id for serial in range(1, 40)}
    assert len(canaries) > 20


# --- a node's decision ---

IN_WAVE_ONE = rollout(9, [LiveNode("i-1", "a")])


def situation(**changes: object) -> Situation:
    return Situation(**{"instance_id": "i-1", "running": STABLE_DIGEST, **changes})  # type: ignore[arg-type]


def test_a_machine_of_an_open_wave_takes_the_candidate() -> None:
    found = decide(release(IN_WAVE_ONE), situation())
    assert (found.choice, found.manifest) == ("candidate", CANDIDATE)


@pytest.mark.parametrize(
    ("changes", "of", "why"),
    [
        ({"fresh": False}, {}, "expired"),
        ({"halted": True}, {}, "halt object"),
        ({}, {"state": "paused"}, "paused"),
        ({}, {"state": "halted"}, "halted"),
        ({"quarantine": frozenset({CANDIDATE_DIGEST})}, {}, "failed on this machine"),
        ({"failures": 1}, {}, "budget of 0"),
        ({"failures": None}, {}, "could not be counted"),
        ({"healthy": False}, {}, "not healthy"),
        ({"drifted": True}, {}, "drifted"),
        ({"quorum_without_me": False}, {}, "quorum"),
    ],
)
def test_every_gate_alone_keeps_a_machine_on_stable(
    changes: dict[str, object], of: dict[str, object], why: str
) -> None:
    planned = rollout(9, [LiveNode("i-1", "a")], **of)
    for running, choice in ((STABLE_DIGEST, "keep"), (None, "stable")):
        found = decide(release(planned), situation(**{"running": running, **changes}))
        assert (found.choice, found.manifest) == (choice, STABLE)
        assert why in found.reason


def test_a_cure_is_taken_by_a_machine_that_is_ill() -> None:
    cure = rollout(9, [LiveNode("i-1", "a")], heals=True)
    assert decide(release(cure), situation(healthy=False)).choice == "candidate"


def test_a_machine_of_a_later_wave_waits_and_says_for_what() -> None:
    nodes = [LiveNode("i-1", "a"), LiveNode("i-2", "a")]
    planned = rollout(9, nodes)
    later = max(nodes, key=lambda node: rank(9, node.instance_id)).instance_id
    found = decide(release(planned), situation(instance_id=later))
    assert (found.choice, found.reason) == ("keep", "this machine is in wave 2 of 2; 1 are open")


def test_a_new_machine_boots_what_is_proven_unless_its_wave_is_open() -> None:
    assert decide(release(IN_WAVE_ONE), situation(running=None)).choice == "candidate"
    nodes = [LiveNode("i-1", "a"), LiveNode("i-2", "a")]
    later = max(nodes, key=lambda node: rank(9, node.instance_id)).instance_id
    assert decide(release(rollout(9, nodes)), situation(running=None, instance_id=later)).manifest == STABLE


def test_a_machine_that_runs_the_candidate_keeps_it_while_the_rollout_is_paused_or_halted() -> None:
    for state in ("running", "paused", "halted"):
        planned = rollout(9, [LiveNode("i-1", "a")], state=state)
        assert decide(release(planned), situation(running=CANDIDATE_DIGEST)).choice == "keep"


def test_an_abort_brings_the_candidates_machines_back() -> None:
    found = decide(release(None), situation(running=CANDIDATE_DIGEST))
    assert (found.choice, found.manifest) == ("stable", STABLE)


def test_a_machine_on_an_abandoned_candidate_takes_its_successor_at_once_or_goes_back() -> None:
    abandoned = situation(running="a" * 64)
    assert decide(release(IN_WAVE_ONE), abandoned).choice == "candidate"
    paused = rollout(9, [LiveNode("i-1", "a")], state="paused")
    assert decide(release(paused), abandoned).choice == "stable"


def test_a_stable_manifest_that_failed_here_is_not_tried_again_and_again() -> None:
    found = decide(release(None), situation(running="0" * 64, quarantine=frozenset({STABLE_DIGEST})))
    assert (found.choice, found.manifest) == ("keep", None)


# --- the coordinator's step ---


@given(
    serials,
    fleets.filter(bool),
    st.booleans(),
    st.randoms(use_true_random=False),
    st.floats(min_value=0, max_value=1),
)
def test_failures_never_exceed_the_budget_by_more_than_the_machines_that_were_let_in_together(
    serial: int, nodes: list[LiveNode], one: bool, random: object, bad: float
) -> None:
    """Any order of events: machines look, apply, fail or succeed; the coordinator steps whenever it likes."""
    planned = rollout(serial, nodes, one_at_a_time=one)
    chance = random.random  # type: ignore[attr-defined]
    ok: set[str] = set()
    failed: set[str] = set()
    applying: set[str] = set()
    let_in_at_halt = 0
    for _event in range(len(nodes) * 8):
        node = random.choice(nodes).instance_id  # type: ignore[attr-defined]
        if node in applying:
            applying.discard(node)
            (failed if chance() < bad else ok).add(node)
        elif node not in ok | failed:
            seen = situation(instance_id=node, failures=len(failed))
            if decide(release(planned), seen).choice == "candidate":
                assert len(failed) <= planned.waves[planned.open].budget
                applying.add(node)
                let_in_at_halt = max(let_in_at_halt, len(applying))
        state = progress(
            planned, [one.instance_id for one in nodes], Outcomes(frozenset(ok), frozenset(failed)), overdue=False
        )
        step = next_step(planned, state, baked=True, halted=False)
        if step.step == "open":
            assert len(failed) <= planned.waves[planned.open].budget
            planned = planned.model_copy(update={"open": planned.open + 1})
        elif step.step == "halt":
            planned = planned.model_copy(update={"state": "halted"})
        elif step.step == "finish":
            assert ok | failed == {one.instance_id for one in nodes}
            break
    assert len(failed) <= planned.waves[planned.open].budget + let_in_at_halt


def test_a_bad_manifest_touches_one_machine() -> None:
    nodes = [LiveNode(f"i-{number}", "abc"[number % 3]) for number in range(40)]
    planned = rollout(9, nodes)
    takers = [n for n in nodes if decide(release(planned), situation(instance_id=n.instance_id)).choice == "candidate"]
    assert len(takers) == 1
    state = progress(
        planned, [n.instance_id for n in nodes], Outcomes(failed=frozenset({takers[0].instance_id})), overdue=False
    )
    assert next_step(planned, state, baked=True, halted=False).step == "halt"
    others = [situation(instance_id=node.instance_id, failures=1) for node in nodes if node not in takers]
    assert not [one for one in others if decide(release(planned), one).choice == "candidate"]


def test_a_machine_that_says_nothing_in_time_has_failed() -> None:
    state = progress(IN_WAVE_ONE, ["i-1"], Outcomes(), overdue=True)
    step = next_step(IN_WAVE_ONE, state, baked=True, halted=False)
    assert (step.step, step.reason) == ("halt", "wave 1 of 1: 0 failed, 1 silent; its budget is 0")


def test_a_terminated_machine_is_not_waited_for_but_its_failure_counts() -> None:
    assert progress(IN_WAVE_ONE, [], Outcomes(), overdue=True).complete
    assert progress(IN_WAVE_ONE, [], Outcomes(failed=frozenset({"i-1"})), overdue=False).failed == ("i-1",)


@pytest.mark.parametrize(
    ("baked", "halted", "reason"),
    [(False, False, "wave 1 of 1: all done, baking"), (True, True, "the store holds a halt object for this group")],
)
def test_a_finished_wave_waits_for_its_bake_time_and_for_no_halt(baked: bool, halted: bool, reason: str) -> None:
    state = progress(IN_WAVE_ONE, ["i-1"], Outcomes(ok=frozenset({"i-1"})), overdue=False)
    step = next_step(IN_WAVE_ONE, state, baked=baked, halted=halted)
    assert (step.step, step.reason) == ("wait", reason)


def test_the_last_wave_finishes_the_rollout() -> None:
    state = progress(IN_WAVE_ONE, ["i-1"], Outcomes(ok=frozenset({"i-1"})), overdue=False)
    assert next_step(IN_WAVE_ONE, state, baked=True, halted=False).step == "finish"
