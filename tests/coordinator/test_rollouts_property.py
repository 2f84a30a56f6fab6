"""Whatever happens in whatever order: one wave at a time, serials that only grow, no more failures than budgeted."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from coordinator.rollouts import Sight, Stamp, Terms, begun, changed, moves
from tests.coordinator.fleet import manifest_of
from units.manifest import Release
from units.rollout import LiveNode, Outcomes, Situation, decide_between, wave_of

STABLE, CANDIDATE = manifest_of("workers", version="1"), manifest_of("workers", version="2")
PLANE, PLANE_CANDIDATE = manifest_of("cp", "control-plane"), manifest_of("cp", "control-plane", "2")
START = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = ("ok", "failed", "advance", "advance", "time", "long", "launch", "terminate", "halt", "unhalt", "resume")


@dataclass
class Story:
    """A control-plane group and a group of workers, both with a rollout; every event is an event of both."""

    nodes: dict[str, list[LiveNode]]
    now: datetime = START
    serial: int = 7
    halted: bool = False
    launched: int = 0
    ok: dict[str, set[str]] = field(default_factory=lambda: {"cp": set(), "workers": set()})
    failed: dict[str, set[str]] = field(default_factory=lambda: {"cp": set(), "workers": set()})
    releases: dict[str, Release] = field(default_factory=dict)

    def begin(self) -> None:
        stamp = Stamp(self.serial, self.now)
        terms = Terms(bake_seconds=60, deadline_seconds=600)
        self.releases = {
            "cp": begun(PLANE, PLANE_CANDIDATE, self.nodes["cp"], terms=terms, stamp=stamp),
            "workers": begun(STABLE, CANDIDATE, self.nodes["workers"], terms=terms, stamp=stamp, behind="cp"),
        }

    def sights(self) -> dict[str, Sight]:
        return {
            group: Sight(
                tuple(self.nodes[group]),
                Outcomes(frozenset(self.ok[group]), frozenset(self.failed[group])),
                self.halted,
            )
            for group in self.releases
        }

    def let_in(self, group: str) -> list[str]:
        """Who may take the candidate now, as the nodes themselves decide it."""
        release = self.releases[group]
        unheard = [
            node.instance_id
            for node in self.nodes[group]
            if node.instance_id not in self.ok[group] and node.instance_id not in self.failed[group]
        ]
        failures = len(self.failed[group])
        return [
            one
            for one in unheard
            if decide_between(
                release, "stable", "candidate", Situation(one, "stable", halted=self.halted, failures=failures)
            ).choice
            == "candidate"
        ]

    def happen(self, event: str) -> None:
        for group in tuple(self.releases):
            if event in ("ok", "failed"):
                for one in self.let_in(group)[:1]:
                    (self.ok if event == "ok" else self.failed)[group].add(one)
            elif event == "launch":
                self.launched += 1
                self.nodes[group].append(LiveNode(f"i-late-{self.launched}", "b"))
            elif event == "terminate" and len(self.nodes[group]) > 1:
                self.nodes[group].pop(0)
            elif event == "resume":
                self._resume(group)
        self.halted = event == "halt" or (self.halted and event != "unhalt")
        self.now += timedelta(seconds={"time": 61, "long": 601}.get(event, 1))
        if event == "advance":
            self._advance()

    def _resume(self, group: str) -> None:
        rollout = self.releases[group].rollout
        if rollout is not None and rollout.state == "paused" and not self.halted:
            self.serial += 1
            stamp = Stamp(self.serial, self.now)
            self.releases[group] = changed(self.releases[group], stamp, state="running", reason="", opened=stamp.text)

    def _advance(self) -> None:
        before, sights = dict(self.releases), self.sights()
        stamp = Stamp(self.serial + 1, self.now)
        for move in moves(before, sights, stamp):
            if move.release is None:
                continue
            self.serial = stamp.serial
            self._judge(before[move.group], move.release, sights[move.group])
            if move.release.rollout is None:
                del self.releases[move.group]
            else:
                self.releases[move.group] = move.release

    def _judge(self, before: Release, after: Release, sight: Sight) -> None:
        assert after.serial > before.serial
        was, now = before.rollout, after.rollout
        assert was is not None
        opens = now is not None and now.open > was.open
        if opens or (now is None and after.stable == before.candidate):
            # Only from a wave of which every live member was heard, within its budget, and time has passed.
            assert was.state == "running"
            assert not self.halted
            assert len(sight.outcomes.failed) <= was.waves[was.open].budget
            members = [node.instance_id for node in sight.live if wave_of(was, node.instance_id) <= was.open]
            assert set(members) <= sight.outcomes.ok | sight.outcomes.failed
            assert self.now - datetime.fromisoformat(was.opened) >= timedelta(seconds=60)
            assert members or sight.outcomes.ok or not sight.live
        if now is not None:
            assert now.open <= was.open + 1
            assert now.serial == was.serial


@settings(max_examples=150, deadline=None)
@given(
    events=st.lists(st.sampled_from(EVENTS), max_size=60),
    planes=st.integers(1, 3),
    workers=st.integers(1, 12),
)
def test_any_order_of_events_keeps_the_rules(events: list[str], planes: int, workers: int) -> None:
    story = Story(
        {
            "cp": [LiveNode(f"i-cp-{one}", "abc"[one % 3]) for one in range(planes)],
            "workers": [LiveNode(f"i-w-{one}", "abc"[one % 3]) for one in range(workers)],
        }
    )
    story.begin()
    for event in events:
        story.happen(event)
        both = [story.releases[group].rollout for group in ("cp", "workers") if group in story.releases]
        if len(both) == 2 and both[1] is not None:
            assert both[1].state in ("queued", "paused")  # workers never before the control plane


@settings(max_examples=50, deadline=None)
@given(workers=st.integers(1, 40), fails=st.integers(0, 40))
def test_a_candidate_that_fails_everywhere_touches_one_node(workers: int, fails: int) -> None:
    story = Story({"cp": [LiveNode("i-cp", "a")], "workers": [LiveNode(f"i-{one}", "a") for one in range(workers)]})
    story.begin()
    story.ok["cp"].add("i-cp")
    for event in ("time", "advance", *["failed", "advance", "time"] * (fails + 1)):
        story.happen(event)
    assert len(story.failed["workers"]) == 1
