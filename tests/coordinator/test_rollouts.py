"""Rollouts over a real signed repository: publish begins them, advance takes them on, no further than allowed."""

import itertools
import json

import pytest

from coordinator.diff_view import reach_of
from coordinator.inventory import Inventory
from coordinator.publish import queue_of
from coordinator.rollouts import Terms
from coordinator.rollouts_halts import Halt, lift_halts, put_halts, read_halts
from coordinator.rotation.publication import PhaseRequest, RotationTools, prepare_phase
from coordinator.rotation.waiting import Confirmations
from coordinator.store import Store
from tests.coordinator.fleet import FleetDouble, version_of
from tests.coordinator.workshop import Crash, Fuse, Workshop
from units.errors import Invalid, Refused, Retryable
from units.rollout import EVERYONE
from units.status import Condition

PLANES = {"cp-a": "control-plane", "cp-b": "control-plane", "workers": "node"}


@pytest.fixture
def fleet(workshop: Workshop) -> FleetDouble:
    """One group, published, without nodes."""
    made = FleetDouble(workshop)
    made.publish()
    return made


def serial(fleet: FleetDouble) -> int:
    return fleet.workshop.repository.read().note.serial


# -- publish


def test_without_live_nodes_the_stable_manifest_is_replaced_at_once(fleet: FleetDouble) -> None:
    fleet.versions["workers"] = "2"
    publication = fleet.look()
    assert reach_of(publication.changes[0], "") == "no live nodes: published as stable"
    fleet.sign(publication)
    assert fleet.standing() == ("2", "", "", -1)


def test_with_live_nodes_it_becomes_the_candidate_of_a_rollout_and_the_stable_one_stays(fleet: FleetDouble) -> None:
    ids = fleet.live(8)
    fleet.versions["workers"] = "2"
    publication = fleet.look()
    (change,) = publication.changes
    assert change.items[0].lines == ("-1 +2",)
    assert reach_of(change, "") == "rollout over 8 live nodes: 1, +3, +4 (waves)"
    fleet.sign(publication)
    assert fleet.standing() == ("1", "2", "running", 0)
    rollout = fleet.release().rollout
    assert rollout is not None
    assert (rollout.serial, len(rollout.waves), rollout.waves[-1].cutoff) == (2, 3, EVERYONE)
    assert [wave.budget for wave in rollout.waves] == [0, 1, 1]
    assert len(fleet.members(ids)) == 1


def test_a_status_of_long_ago_is_no_live_node(fleet: FleetDouble) -> None:
    fleet.live(3)
    fleet.clock.advance(minutes=91)
    fleet.publish(workers="2")
    assert fleet.standing() == ("2", "", "", -1)


def test_a_machine_that_ec2_knows_to_be_gone_is_no_live_node(workshop: Workshop) -> None:
    fleet = FleetDouble(workshop, departed=lambda ids: frozenset(one for one in ids if one.endswith("0")))
    fleet.publish()
    fleet.live(2)
    fleet.versions["workers"] = "2"
    (change,) = fleet.look().changes
    assert change.reach is not None
    assert [node.instance_id for node in change.reach.live] == ["i-workers-0001"]


def test_nothing_changed_is_nothing_to_publish_while_a_rollout_runs(fleet: FleetDouble) -> None:
    fleet.live(3)
    fleet.publish(workers="2")
    assert fleet.look().is_empty


def test_another_publish_replaces_the_candidate_and_draws_the_waves_anew(fleet: FleetDouble) -> None:
    ids = fleet.live(8)
    fleet.publish(workers="2")
    fleet.take(ids)
    fleet.clock.advance(seconds=300)
    assert fleet.step() == "open"
    fleet.publish(workers="3")
    assert fleet.standing() == ("1", "3", "running", 0)
    rollout = fleet.release().rollout
    assert rollout is not None
    assert rollout.serial == serial(fleet)
    assert fleet.step() == "wait"  # the old rollout's markers do not count


def test_publishing_the_stable_manifest_again_takes_the_candidate_back(fleet: FleetDouble) -> None:
    fleet.live(3)
    fleet.publish(workers="2")
    fleet.versions["workers"] = "1"
    publication = fleet.look()
    assert [change.kind for change in publication.changes] == ["aborted"]
    assert "taken back" in reach_of(publication.changes[0], "")
    fleet.sign(publication)
    assert fleet.standing() == ("1", "", "", -1)
    assert serial(fleet) == 3
    assert fleet.look().is_empty


def test_an_emergency_only_shortens_the_pauses(workshop: Workshop) -> None:
    fleet = FleetDouble(workshop, terms=Terms(bake_seconds=30))
    fleet.publish()
    ids = fleet.live(8)
    fleet.publish(workers="2")
    assert len(fleet.members(ids)) == 1
    fleet.take(ids)
    fleet.clock.advance(seconds=30)
    assert fleet.step() == "open"


@pytest.mark.parametrize("damage", [False, True], ids=["intact", "damaged"])
def test_a_repair_keeps_a_rollout_and_finds_the_stable_manifest_of_a_damaged_one(
    fleet: FleetDouble, damage: bool
) -> None:
    fleet.live(3)
    fleet.publish(workers="2")
    group = fleet.workshop.repository.read().groups["workers"]
    key = f"tuf/targets/groups/{group.target.hashes['sha256']}.workers.json"
    before = fleet.workshop.store.get(key)
    assert before is not None
    if damage:
        fleet.workshop.store.put(key, b"damaged")
    fleet.sign(fleet.look(repair=True))
    assert fleet.standing() == ("1", "2", "running", 0)
    assert serial(fleet) == (3 if damage else 2)


# -- the order of groups


def test_control_plane_groups_go_first_and_one_after_the_other(workshop: Workshop) -> None:
    fleet = FleetDouble(workshop, PLANES)
    fleet.publish()
    ids = {group: fleet.live(2, group) for group in PLANES}
    fleet.versions = dict.fromkeys(PLANES, "2")
    publication = fleet.look()
    assert queue_of(publication, publication.state) == {"cp-a": "", "cp-b": "cp-a", "workers": "cp-a"}
    fleet.sign(publication)
    assert [fleet.standing(group)[2] for group in PLANES] == ["running", "queued", "queued"]
    assert fleet.roll(ids["cp-a"], "cp-a") == 2  # one machine a wave
    assert [fleet.standing(group)[2] for group in PLANES] == ["", "running", "queued"]
    fleet.roll(ids["cp-b"], "cp-b")
    assert [fleet.standing(group)[2] for group in PLANES] == ["", "", "running"]
    fleet.roll(ids["workers"])
    assert [fleet.standing(group)[:2] for group in PLANES] == [("2", "")] * 3


def test_a_workers_change_waits_for_a_control_plane_rollout_of_before(workshop: Workshop) -> None:
    fleet = FleetDouble(workshop, PLANES)
    fleet.publish()
    for group in PLANES:
        fleet.live(2, group)
    fleet.publish(cp_b="2")
    fleet.publish(workers="2")
    assert fleet.standing("workers")[2] == "queued"
    assert fleet.report()["workers"].gate == "queued: waits until the rollout of control-plane group cp-b is finished"
    fleet.publish(cp_a="2")
    assert fleet.standing("cp-a")[2] == "queued"


def test_aborting_a_control_plane_rollout_takes_along_what_waits_for_it(workshop: Workshop) -> None:
    fleet = FleetDouble(workshop, PLANES)
    fleet.publish()
    for group in PLANES:
        fleet.live(2, group)
    fleet.publish(cp_a="2", workers="2")
    before = fleet.workshop.repository.read().targets.version
    fleet.order("abort", "cp-a")
    assert [fleet.standing(group)[:2] for group in PLANES] == [("1", "")] * 3
    assert fleet.workshop.repository.read().targets.version == before + 1


def test_waves_of_a_queued_rollout_are_drawn_over_those_that_live_when_it_begins(workshop: Workshop) -> None:
    fleet = FleetDouble(workshop, PLANES)
    fleet.publish()
    ids = fleet.live(1, "cp-a")
    fleet.live(1)
    fleet.publish(cp_a="2", workers="2")
    late = fleet.live(8)
    fleet.roll(ids, "cp-a")
    rollout = fleet.release().rollout
    assert rollout is not None
    assert len(rollout.waves) == 3
    assert len(fleet.members(late)) == 1


# -- advance


def test_a_good_candidate_becomes_stable_wave_by_wave(fleet: FleetDouble) -> None:
    ids = fleet.live(20)
    fleet.publish(workers="2")
    sizes = [len(fleet.members(ids))]
    while True:
        fleet.take(ids)
        assert fleet.step() == "wait"  # not baked yet
        fleet.clock.advance(seconds=300)
        if fleet.step() == "finish":
            break
        sizes.append(len(fleet.members(ids)))
    assert sizes == [1, 4, 10, 20]
    assert fleet.standing() == ("2", "", "", -1)
    assert fleet.advance().moves == ()


def test_advance_without_anything_to_do_writes_nothing(fleet: FleetDouble) -> None:
    fleet.live(3)
    fleet.publish(workers="2")
    before = [(item.key, item.modified) for item in fleet.workshop.store.list("tuf/")]
    advanced = fleet.advance()
    assert advanced.committed is None
    assert [move.kind for move in advanced.moves] == ["wait"]
    assert [(item.key, item.modified) for item in fleet.workshop.store.list("tuf/")] == before


def test_a_failed_canary_halts_the_rollout_and_says_who_and_why(fleet: FleetDouble) -> None:
    ids = fleet.live(8)
    fleet.publish(workers="2")
    (canary,) = fleet.members(ids)
    condition = Condition(code="manifest-undone", message="kubelet does not start", remedy="fix it", since="2026")
    fleet.say(canary, conditions=(condition,))
    fleet.mark("failed", canary)
    assert fleet.step() == "halt"
    assert fleet.standing() == ("1", "2", "halted", 0)
    row = fleet.report()["workers"]
    assert row.failing is not None
    assert (row.failing.instance_id, row.failing.remedy) == (canary, "fix it")
    assert row.failing.reason == "manifest-undone: kubelet does not start"
    assert "1 failed, 0 silent; its budget is 0" in row.gate
    assert fleet.step() == "wait"


def test_a_silent_canary_has_failed_when_its_time_is_up(fleet: FleetDouble) -> None:
    fleet.live(8)
    fleet.publish(workers="2")
    fleet.clock.advance(seconds=1801)
    assert fleet.step() == "halt"
    assert "1 silent" in fleet.report()["workers"].gate


def test_who_died_after_the_opening_does_not_just_fall_out_of_the_count(fleet: FleetDouble) -> None:
    """Its last word is older than the live window by then, and it is silent all the same."""
    fleet.live(8)
    fleet.clock.advance(minutes=80)
    fleet.publish(workers="2")
    fleet.clock.advance(minutes=31)
    assert fleet.step() == "halt"


def test_a_terminated_machine_is_waited_for_by_nobody(workshop: Workshop) -> None:
    gone: set[str] = set()
    fleet = FleetDouble(workshop, departed=lambda ids: frozenset(gone & set(ids)))
    fleet.publish()
    ids = fleet.live(8)
    fleet.publish(workers="2")
    fleet.take(ids)
    fleet.clock.advance(seconds=300)
    assert fleet.step() == "open"
    gone.add(fleet.members(ids)[1])
    for one in fleet.members(ids):
        if one not in gone:
            fleet.mark("ok", one)
    fleet.clock.advance(seconds=300)
    assert fleet.step() == "open"


def test_an_empty_canary_proves_nothing_so_another_one_is_drawn(workshop: Workshop) -> None:
    gone: set[str] = set()
    fleet = FleetDouble(workshop, departed=lambda ids: frozenset(gone & set(ids)))
    fleet.publish()
    ids = fleet.live(8)
    fleet.publish(workers="2")
    (canary,) = fleet.members(ids)
    before = fleet.release().rollout
    gone.add(canary)
    fleet.clock.advance(seconds=300)
    assert fleet.step() == "draw"
    rollout = fleet.release().rollout
    assert rollout is not None
    assert before is not None
    assert (rollout.open, rollout.serial) == (0, before.serial)
    (second,) = [one for one in fleet.members(ids) if one not in gone]
    assert second != canary
    assert fleet.step() == "wait"


def test_an_auto_rollback_takes_the_candidate_back_under_a_higher_serial(workshop: Workshop) -> None:
    fleet = FleetDouble(workshop, terms=Terms(auto_rollback=True))
    fleet.publish()
    ids = fleet.live(4)
    fleet.publish(workers="2")
    fleet.mark("failed", fleet.members(ids)[0])
    assert fleet.step() == "withdraw"
    assert fleet.standing() == ("1", "", "", -1)
    assert serial(fleet) == 3
    assert fleet.look().changes[0].kind == "changed"  # the spec still wants it: a person must decide


def test_failures_within_the_budget_do_not_stop_a_later_wave_and_one_more_does(fleet: FleetDouble) -> None:
    ids = fleet.live(8)
    fleet.publish(workers="2")
    fleet.take(ids)
    fleet.clock.advance(seconds=300)
    assert fleet.step() == "open"
    _canary, second, third, fourth = fleet.members(ids)
    fleet.mark("failed", second)
    fleet.mark("ok", third)
    assert fleet.step() == "wait"
    fleet.mark("ok", fourth)
    fleet.clock.advance(seconds=300)
    assert fleet.step() == "open"
    fleet.mark("failed", fleet.members(ids)[5])
    assert fleet.step() == "halt"


def test_only_the_named_group_moves(workshop: Workshop) -> None:
    fleet = FleetDouble(workshop, {"a": "node", "b": "node"})
    fleet.publish()
    ids = {group: fleet.live(4, group) for group in "ab"}
    fleet.publish(a="2", b="2")
    for group in "ab":
        fleet.take(ids[group], group)
    fleet.clock.advance(seconds=300)
    assert [move.group for move in fleet.advance("a").moves] == ["a"]
    assert (fleet.standing("a")[3], fleet.standing("b")[3]) == (1, 0)
    with pytest.raises(Invalid):
        fleet.advance("c")


def test_all_groups_move_in_one_commit(workshop: Workshop) -> None:
    fleet = FleetDouble(workshop, {"a": "node", "b": "node"})
    fleet.publish()
    ids = {group: fleet.live(4, group) for group in "ab"}
    fleet.publish(a="2", b="2")
    for group in "ab":
        fleet.take(ids[group], group)
    fleet.clock.advance(seconds=300)
    before = fleet.workshop.repository.read().targets.version
    fleet.advance()
    state = fleet.workshop.repository.read()
    assert state.targets.version == before + 1
    assert {group.serial for group in state.groups.values()} == {3}
    assert state.note.what == "advance: a opens wave 2 of 2; b opens wave 2 of 2"


# -- halt objects, pause, resume, abort


def test_a_halt_object_pauses_a_rollout_and_its_clocks_start_anew_with_resume(fleet: FleetDouble) -> None:
    ids = fleet.live(8)
    fleet.publish(workers="2")
    put_halts(fleet.workshop.store, ["workers"], Halt(who="ann", when="2026-01-01T00:00:00Z", why="errors"))
    assert "by ann at 2026-01-01T00:00:00Z: errors" in fleet.report()["workers"].gate
    assert fleet.step() == "pause"
    fleet.clock.advance(hours=1)
    assert fleet.step() == "wait"
    with pytest.raises(Refused, match="halt object"):
        fleet.order("resume")
    lift_halts(fleet.workshop.store, ["workers"])
    fleet.order("resume")
    assert fleet.step() == "wait"  # an hour of silence was no silence
    assert fleet.roll(ids) == 3


def test_halts_are_put_read_and_lifted_in_either_store(store: Store) -> None:
    put_halts(store, ["a", "b"], Halt(who="ann", why="errors"))
    assert {group: halt.who for group, halt in read_halts(store).items()} == {"a": "ann", "b": "ann"}
    lift_halts(store, ["a", "never-there"])
    assert set(read_halts(store)) == {"b"}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"who": 1}', b"x" * 5000])
def test_a_halt_object_halts_whatever_is_in_it(fleet: FleetDouble, body: bytes) -> None:
    fleet.live(2)
    fleet.publish(workers="2")
    fleet.workshop.store.put("halt/workers", body)
    assert set(read_halts(fleet.workshop.store)) == {"workers"}
    assert fleet.step() == "pause"


def test_pause_resume_and_abort_say_what_is_so_already(fleet: FleetDouble) -> None:
    fleet.live(4)
    with pytest.raises(Invalid, match="no rollout is under way"):
        fleet.order("pause", "workers")
    fleet.publish(workers="2")
    assert fleet.order("resume").committed is None
    assert fleet.order("pause").committed is not None
    assert fleet.order("pause").committed is None
    assert fleet.standing()[2] == "paused"
    fleet.clock.advance(hours=2)
    assert fleet.step() == "wait"
    fleet.order("resume")
    assert fleet.step() == "wait"
    fleet.order("abort", "workers")
    assert fleet.standing() == ("1", "", "", -1)


def test_a_halted_rollout_resumes_only_if_its_failures_are_accepted(fleet: FleetDouble) -> None:
    ids = fleet.live(8)
    fleet.publish(workers="2")
    fleet.mark("failed", fleet.members(ids)[0])
    assert fleet.step() == "halt"
    with pytest.raises(Refused, match="halted again at once") as caught:
        fleet.order("resume")
    assert "--accept-failures" in caught.value.remedy
    fleet.order("resume", accept_failures=True)
    assert fleet.standing()[2] == "running"
    assert fleet.step() == "wait"


def test_a_paused_control_plane_rollout_resumes_behind_the_one_that_runs(workshop: Workshop) -> None:
    fleet = FleetDouble(workshop, PLANES)
    fleet.publish()
    for group in PLANES:
        fleet.live(2, group)
    fleet.publish(cp_a="2", cp_b="2")
    fleet.order("pause", "cp-b")
    fleet.order("resume", "cp-b")
    assert fleet.standing("cp-b")[2] == "queued"


# -- crashes and races


@pytest.mark.parametrize("after", [False, True], ids=["before-the-write", "after-the-write"])
def test_a_coordinator_killed_at_every_write_leaves_a_rollout_that_goes_on(workshop: Workshop, after: bool) -> None:
    fleet = FleetDouble(workshop, {"a": "node", "b": "node"})
    fleet.publish()
    ids = {group: fleet.live(4, group) for group in "ab"}
    for writes in itertools.count(1):
        fleet.publish(a=f"{writes}.2", b=f"{writes}.2")
        for group in "ab":
            fleet.take(ids[group], group)
        fleet.clock.advance(seconds=300)
        fused = Workshop(workshop.directory.path, workshop.store, workshop.clock, Fuse(writes, after=after))
        killed = FleetDouble(fused)
        try:
            killed.advance()
        except Crash:
            waves = {fleet.standing(group)[3] for group in "ab"}
            assert waves in ({0}, {1})  # both groups or none
            moved = {move.kind for move in fleet.advance().moves}
            assert moved == ({"open"} if waves == {0} else {"wait"})
            assert {fleet.standing(group)[3] for group in "ab"} == {1}
        else:
            assert writes > 4  # two releases, targets, snapshot, timestamp, floor
            return


@pytest.mark.parametrize("after", [False, True], ids=["before-the-write", "after-the-write"])
def test_a_publish_over_live_nodes_killed_at_every_write_begins_all_rollouts_or_none(
    workshop: Workshop, after: bool
) -> None:
    fleet = FleetDouble(workshop, PLANES)
    fleet.publish()
    for group in PLANES:
        fleet.live(2, group)
    for writes in itertools.count(1):
        fleet.versions = dict.fromkeys(PLANES, f"2.{writes}")
        fused = FleetDouble(
            Workshop(workshop.directory.path, workshop.store, workshop.clock, Fuse(writes, after=after)), PLANES
        )
        fused.versions = dict(fleet.versions)
        try:
            fused.sign(fused.look())
        except Crash:
            assert len({fleet.standing(group)[1] for group in PLANES}) == 1
            assert len(fleet.look().changes) in (0, 3)
            if not fleet.look().is_empty:
                fleet.sign(fleet.look())
            assert [fleet.standing(group)[:3] for group in PLANES] == [
                ("1", f"2.{writes}", state) for state in ("running", "queued", "queued")
            ]
        else:
            assert writes > 6  # three releases, targets, snapshot, timestamp, floor
            return


def test_of_two_advancing_coordinators_one_opens_the_wave(fleet: FleetDouble) -> None:
    """The second one read the store before the first one committed: its commit conflicts, and it looks again."""
    ids = fleet.live(8)
    fleet.publish(workers="2")
    fleet.take(ids)
    fleet.clock.advance(seconds=300)

    class RacedLookoutDouble:
        """Lets another coordinator commit between the look and the write."""

        def __init__(self) -> None:
            self.looked = 0

        def __getattr__(self, name: str) -> object:
            return getattr(fleet.lookout, name)

        def look(self, state: object) -> object:
            observed = fleet.lookout.look(state)  # type: ignore[arg-type]
            self.looked += 1
            if self.looked == 1:
                assert fleet.step() == "open"
            return observed

    from coordinator.advance import advance

    raced = RacedLookoutDouble()
    advanced = advance(raced, fleet.workshop.signing, by="second")  # type: ignore[arg-type]
    assert raced.looked == 2
    assert [move.kind for move in advanced.moves] == ["wait"]
    assert fleet.standing()[3] == 1


def test_a_publish_over_a_rollout_that_moved_meanwhile_is_not_signed(fleet: FleetDouble) -> None:
    ids = fleet.live(8)
    fleet.publish(workers="2")
    fleet.versions["workers"] = "3"
    publication = fleet.look()
    fleet.take(ids)
    fleet.clock.advance(seconds=300)
    assert fleet.step() == "open"
    with pytest.raises(Retryable):
        fleet.sign(publication)


def test_a_phase_of_a_rotation_waits_until_no_rollout_is_under_way(fleet: FleetDouble) -> None:
    fleet.live(3)
    fleet.publish(workers="2")

    def never(*_: object) -> None:
        raise AssertionError("no key may be made")

    workshop = fleet.workshop
    tools = RotationTools(workshop.repository, Confirmations(workshop.directory), never, never, fleet.clock)
    with pytest.raises(Retryable, match="a rollout is under way in workers"):
        prepare_phase(PhaseRequest("kubernetes", "add"), tools)


# -- the inventory


def test_rows_are_read_again_only_where_there_is_news(fleet: FleetDouble) -> None:
    fleet.live(5)
    read: list[str] = []

    class WatchedStoreDouble:
        def get(self, key: str, **limits: int) -> object:
            read.append(key)
            return fleet.workshop.store.get(key, **limits)

        def __getattr__(self, name: str) -> object:
            return getattr(fleet.workshop.store, name)

    inventory = Inventory(WatchedStoreDouble(), fleet.clock)  # type: ignore[arg-type]
    assert len(inventory.rows()) == 5
    read.clear()
    fleet.say("i-workers-0002", stage="failed")
    assert [row.stage for row in inventory.rows() if row.instance_id == "i-workers-0002"] == ["failed"]
    assert read == ["status/i-workers-0002.json"]


def test_a_row_keeps_little_however_much_a_node_says(fleet: FleetDouble) -> None:
    loud = tuple(Condition(code="c", message="m" * 5000, since="2026") for _ in range(40))
    fleet.say("i-1", conditions=loud, drift=tuple(f"file:/{n}" for n in range(1000)))
    (row,) = Inventory(fleet.workshop.store, fleet.clock).rows()
    assert len(row.conditions) == 6
    assert max(len(condition.message) for condition in row.conditions) == 600
    assert len(row.drift) == 20


def test_markers_with_strange_names_are_left_aside(fleet: FleetDouble) -> None:
    ids = fleet.live(2)
    fleet.publish(workers="2")
    (canary,) = fleet.members(ids)
    for name in ("failed/a/b", "maybe/i-1", f"failed/{'x' * 100}"):
        fleet.workshop.store.put(f"outcome/workers/2/{name}", b"")
    fleet.mark("ok", canary)
    assert fleet.report()["workers"].failed == ()


def test_the_report_is_json(fleet: FleetDouble) -> None:
    fleet.live(3)
    fleet.publish(workers="2")
    document = json.loads(json.dumps(fleet.report()["workers"].document))
    assert (document["state"], document["wave"], document["waves"], document["live_nodes"]) == ("running", 1, 3, 3)
    assert document["gate"].startswith("wave 1 of 3: 1 of 1 are not done yet: i-workers-")
    assert version_of(fleet.release().stable) == "1"
