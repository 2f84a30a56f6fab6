"""Rollouts: which machine runs which manifest of its group's release, decided on the machine from signed data. Pure.

A wave is a cut-off in the order of `rank`. The coordinator ranks the machines that live when the rollout begins and
writes the cut-offs into the signed release; a machine compares its own rank, so nobody is told by name, and a machine
launched later falls where its rank says (reference/peers.md 6.5). The order differs from rollout to rollout: with a
fixed one the same machines would be canaries for ever.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from units.manifest import Manifest, Release, Rollout, manifest_digest

EVERYONE = "f" * 64

Choice = Literal["stable", "candidate", "keep"]


def rank(serial: int, instance_id: str) -> str:
    """64 hex digits: a machine's place in the rollout that began with this serial."""
    return hashlib.sha256(f"{serial}\n{instance_id}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class LiveNode:
    instance_id: str
    zone: str


def wave_sizes(total: int, zones: int, *, one_at_a_time: bool) -> tuple[int, ...]:
    """Cumulative: the canary, then as many as there are zones, a tenth, a half, all. Empty for an empty group."""
    if one_at_a_time:
        return tuple(range(1, total + 1))
    wanted = (1, 1 + zones, ceil(total / 10), ceil(total / 2), total)
    sizes: list[int] = []
    for size in wanted:
        if 0 < size <= total and (not sizes or size > sizes[-1]):
            sizes.append(size)
    return tuple(sizes)


def cutoffs(serial: int, nodes: Collection[LiveNode], *, one_at_a_time: bool) -> tuple[str, ...]:
    """One cut-off a wave, strictly rising; the last lets in everyone, also machines that do not live yet."""
    order = sorted(rank(serial, node.instance_id) for node in nodes)
    sizes = wave_sizes(len(order), len({node.zone for node in nodes}), one_at_a_time=one_at_a_time)
    return (*(order[size - 1] for size in sizes[:-1]), EVERYONE)


def budget_of(members: int, wave: int, *, one_at_a_time: bool) -> int:
    """Failures that a wave bears, of `members` that it lets in: none as canary and on a control plane, 2 % later."""
    return 0 if wave == 0 or one_at_a_time else max(1, members * 2 // 100)


def wave_of(rollout: Rollout, instance_id: str) -> int:
    """The wave in which a machine's turn comes, from 0."""
    own = rank(rollout.serial, instance_id)
    return next(number for number, wave in enumerate(rollout.waves) if own <= wave.cutoff)


@dataclass(frozen=True, slots=True)
class Situation:
    """What a machine knows of itself, and of the rollout beside its signed release, when it decides."""

    instance_id: str
    running: str | None  # digest of the manifest it committed last; None before the first
    healthy: bool = True
    drifted: bool = False
    fresh: bool = True  # the metadata has not expired
    halted: bool = False  # the halt object is there, or it could not be asked for
    failures: int | None = 0  # markers of this rollout; None: they could not be counted
    quorum_without_me: bool = True  # control plane: etcd survives the loss of this machine
    quarantine: frozenset[str] = frozenset()  # digests that failed on this machine


@dataclass(frozen=True, slots=True)
class Decision:
    """`manifest` is what this machine should run now; None: leave it as it is, `reason` says why."""

    choice: Choice
    manifest: Manifest | None
    reason: str


def decide(release: Release, situation: Situation) -> Decision:
    """The node's part of a rollout. Every gate that is shut leaves a machine with what it runs."""
    candidate = None if release.candidate is None else manifest_digest(release.candidate)
    return decide_between(release, manifest_digest(release.stable), candidate, situation)


def decide_between(release: Release, stable: str, candidate: str | None, situation: Situation) -> Decision:
    """The same with the digests of both manifests at hand: a simulation asks a hundred thousand times."""
    running = situation.running
    if running is None:
        return _first(release, situation, candidate)
    if candidate is not None and running == candidate:
        return Decision("keep", release.candidate, "on the candidate")
    shut = "on the stable manifest"
    if release.candidate is not None and release.rollout is not None and candidate is not None:
        shut = next(_shut_gates(release.rollout, situation, candidate), "")
        if not shut:
            wave = wave_of(release.rollout, situation.instance_id) + 1
            return Decision("candidate", release.candidate, f"wave {wave} is open")
    # Also from an abandoned candidate: what replaces it is taken at once, or the way leads back over stable.
    return Decision("keep", release.stable, shut) if running == stable else _to_stable(release, situation, stable)


def _first(release: Release, situation: Situation, candidate: str | None) -> Decision:
    """A new machine: the proven manifest, unless its turn for the candidate has come already."""
    rollout = release.rollout
    if rollout is None or release.candidate is None or candidate is None:
        return Decision("stable", release.stable, "the first manifest of this machine")
    shut = next(_shut_gates(rollout, situation, candidate), None)
    if shut:
        return Decision("stable", release.stable, f"the first manifest of this machine, not the candidate: {shut}")
    return Decision("candidate", release.candidate, "launched into an open wave")


def _to_stable(release: Release, situation: Situation, stable: str) -> Decision:
    """Behind, or on a candidate that was aborted. What is proven needs no wave, only a machine that can take it."""
    if not situation.fresh:
        return Decision("keep", None, "the signed metadata has expired")
    if stable in situation.quarantine:
        return Decision("keep", None, "the stable manifest failed on this machine before")
    return Decision("stable", release.stable, "the stable manifest is another one than this machine runs")


def _shut_gates(rollout: Rollout, situation: Situation, candidate: str) -> Iterator[str]:
    """Why the candidate is not for this machine now, in the order of peers.md 6.5."""
    if not situation.fresh:
        yield "the signed metadata has expired"
    if situation.halted:
        yield "the rollout is halted: the store holds a halt object for this group"
    if rollout.state != "running":
        yield f"the rollout is {rollout.state}"
    if candidate in situation.quarantine:
        yield "the candidate failed on this machine before"
    wave = wave_of(rollout, situation.instance_id)
    if wave > rollout.open:
        yield f"this machine is in wave {wave + 1} of {len(rollout.waves)}; {rollout.open + 1} are open"
    if situation.failures is None:
        yield "the failures of this rollout could not be counted"
    elif situation.failures > rollout.waves[rollout.open].budget:
        budget = rollout.waves[rollout.open].budget
        yield f"{situation.failures} failures use up the rollout's budget of {budget}"
    if not (situation.healthy or rollout.heals):
        yield "this machine is not healthy"
    if situation.drifted:
        yield "this machine has drifted from its manifest"
    if not situation.quorum_without_me:
        yield "etcd would lose its quorum without this machine"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What the markers in the store say of one rollout: instance ids."""

    ok: frozenset[str] = frozenset()
    failed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Progress:
    """The open wave against the live inventory. `silent` have said nothing although their time is up."""

    members: tuple[str, ...]
    ok: tuple[str, ...]
    failed: tuple[str, ...]
    pending: tuple[str, ...]
    silent: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not (self.failed or self.pending or self.silent)


def progress(rollout: Rollout, live: Sequence[str], outcomes: Outcomes, *, overdue: bool) -> Progress:
    """Everyone let in so far. A terminated machine counts only if it failed: its failure was real."""
    cutoff = rollout.waves[rollout.open].cutoff
    members = tuple(one for one in live if rank(rollout.serial, one) <= cutoff)
    failed = tuple(sorted(outcomes.failed))
    ok = tuple(one for one in members if one in outcomes.ok and one not in outcomes.failed)
    unheard = tuple(one for one in members if one not in outcomes.ok and one not in outcomes.failed)
    return Progress(
        members=members,
        ok=ok,
        failed=failed,
        pending=() if overdue else unheard,
        silent=unheard if overdue else (),
    )


Step = Literal["wait", "open", "finish", "halt"]


@dataclass(frozen=True, slots=True)
class Advance:
    step: Step
    reason: str


def next_step(rollout: Rollout, state: Progress, *, baked: bool, halted: bool) -> Advance:
    """What `coordinator advance` does. `baked`: the bake time after the wave's opening has passed."""
    wave = f"wave {rollout.open + 1} of {len(rollout.waves)}"
    budget = rollout.waves[rollout.open].budget
    if rollout.state == "running" and len(state.failed) + len(state.silent) > budget:
        said = f"{len(state.failed)} failed, {len(state.silent)} silent"
        return Advance("halt", f"{wave}: {said}; its budget is {budget}")
    waiting = {
        f"the rollout is {rollout.state}": rollout.state != "running",
        "the store holds a halt object for this group": halted,
        f"{wave}: {len(state.pending)} of {len(state.members)} are not done yet": bool(state.pending),
        f"{wave}: all done, baking": not baked,
    }
    if reasons := [reason for reason, applies in waiting.items() if applies]:
        return Advance("wait", reasons[0])
    last = rollout.open + 1 == len(rollout.waves)
    return Advance("finish" if last else "open", f"{wave} is done")
