"""One rollout over one simulated fleet: a queue of events in simulated time. No sleep, no clock, no store.

What is real: `units.rollout` (cut-offs, the node's decision, the coordinator's step). What is simulated: when machines
poll, how long an apply takes, what fails, and what each of it asks of S3.
"""

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

from tests.units.sample import manifest
from units.manifest import Release, Rollout, Wave
from units.rollout import LiveNode, Outcomes, Situation, budget_of, cutoffs, decide_between, next_step, progress, rank

POLL_SECONDS, POLL_JITTER = 60.0, 15.0  # bootwright-sync.timer
ADVANCE_SECONDS = 60.0  # `coordinator advance --watch`
STABLE, CANDIDATE = "stable", "candidate"  # stand for two digests
OPENED = "2026-11-23T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Scenario:
    nodes: int
    zones: int = 3
    bake_seconds: float = 300.0
    bad: float = 0.0  # share of applies that fail
    apply_seconds: tuple[float, float] = (20.0, 60.0)
    seed: int = 1
    serial: int = 7


@dataclass(slots=True)
class Outcome:
    """`touched`: machines that began to apply the candidate; `requests` beside the polls that would be made anyway."""

    finished: bool = False
    halted: str = ""
    seconds: float = 0.0
    waves: list[tuple[int, float]] = field(default_factory=list)  # machines let in, seconds after the beginning
    touched: int = 0
    failed: int = 0
    requests: Counter[str] = field(default_factory=Counter)


def simulate(scenario: Scenario) -> Outcome:
    return _Run(scenario).run()


class _Run:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.random = random.Random(scenario.seed)
        self.nodes = [LiveNode(f"i-{number:017x}", f"z{number % scenario.zones}") for number in range(scenario.nodes)]
        self.ids = [node.instance_id for node in self.nodes]
        self.ranks = {one: rank(scenario.serial, one) for one in self.ids}
        self.rollout = self._planned()
        self.ok: set[str] = set()
        self.failed: set[str] = set()
        self.begun: set[str] = set()
        self.outcome = Outcome()
        stable = manifest("node")
        candidate = stable.model_copy(update={"files": ()})
        self.release = Release(
            serial=scenario.serial, published=OPENED, stable=stable, candidate=candidate, rollout=self.rollout
        )
        self.opened_at = 0.0
        self.events: list[tuple[float, int, str, str]] = []  # time, tie-breaker, what, instance

    def run(self) -> Outcome:
        self._open(0.0)
        self._push(ADVANCE_SECONDS, "advance")
        while self.events and not (self.outcome.finished or self.outcome.halted):
            now, _number, what, instance = heapq.heappop(self.events)
            self.outcome.seconds = now
            {"poll": self._poll, "done": self._done, "advance": self._advance}[what](now, instance)
        for now, _number, what, instance in self.events:  # those that are at it when the rollout ends
            if what == "done":
                self._done(now, instance)
        self.outcome.touched, self.outcome.failed = len(self.begun), len(self.failed)
        return self.outcome

    def _planned(self) -> Rollout:
        found = cutoffs(self.scenario.serial, self.nodes, one_at_a_time=False)
        members = [sum(1 for own in self.ranks.values() if own <= cutoff) for cutoff in found]
        return Rollout(
            serial=self.scenario.serial,
            waves=tuple(
                Wave(cutoff=cutoff, budget=budget_of(size, number, one_at_a_time=False))
                for number, (cutoff, size) in enumerate(zip(found, members, strict=True))
            ),
            opened=OPENED,
        )

    def _push(self, at: float, what: str, instance: str = "") -> None:
        heapq.heappush(self.events, (at, len(self.events) + self.random.getrandbits(40), what, instance))

    def _open(self, now: float) -> None:
        """Each machine that this lets in finds it at its next poll."""
        cutoff = self.rollout.waves[self.rollout.open].cutoff
        let_in = [one for one in self.ids if self.ranks[one] <= cutoff and one not in self.begun]
        self.opened_at = now
        self.outcome.waves.append((len(let_in), now))
        for one in let_in:
            self._push(now + self.random.uniform(0.0, POLL_SECONDS + POLL_JITTER), "poll", one)

    def _poll(self, now: float, instance: str) -> None:
        self.outcome.requests["GET"] += 2  # the release document, the halt object
        self.outcome.requests["LIST"] += 1  # failures
        situation = Situation(instance, STABLE, failures=len(self.failed))
        if decide_between(self.release, STABLE, CANDIDATE, situation).choice == "candidate":
            self.begun.add(instance)
            self._push(now + self.random.uniform(*self.scenario.apply_seconds), "done", instance)

    def _done(self, _now: float, instance: str) -> None:
        self.outcome.requests["PUT"] += 3  # status as it begins and ends, the marker
        (self.failed if self.random.random() < self.scenario.bad else self.ok).add(instance)

    def _advance(self, now: float, _instance: str) -> None:
        self.outcome.requests["LIST"] += 2 * max(1, len(self.ok) // 1000)
        state = progress(
            self.rollout,
            self.ids,
            Outcomes(frozenset(self.ok), frozenset(self.failed)),
            overdue=now - self.opened_at > self.rollout.deadline_seconds,
        )
        step = next_step(self.rollout, state, baked=now - self.opened_at >= self.scenario.bake_seconds, halted=False)
        if step.step == "open":
            self.rollout = self.rollout.model_copy(update={"open": self.rollout.open + 1})
            self.release = self.release.model_copy(update={"rollout": self.rollout})
            self._open(now)
        elif step.step == "finish":
            self.outcome.finished = True
        elif step.step == "halt":
            self.outcome.halted = step.reason
        self._push(now + ADVANCE_SECONDS, "advance")
