"""Rollouts as changes of groups' releases: how they begin, wait for each other, and end. Pure.

`units.rollout` decides about one rollout; here is what the coordinator makes of it over all groups of a cluster.
Control-plane groups go first, one after the other: a worker's kubelet must not be newer than its API server, and etcd
loses one member at a time.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from units.manifest import Manifest, Release, Rollout, Wave
from units.rollout import (
    Advance,
    LiveNode,
    Outcomes,
    Progress,
    budget_of,
    cutoffs,
    next_step,
    progress,
    rank,
    wave_sizes,
)

EMERGENCY_BAKE: Final = 30  # seconds; the canary stays
HALT_OBJECT: Final = "the store holds a halt object for this group"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a rollout keeps to, from the spec; carried along in its signed release."""

    bake_seconds: int = 300
    deadline_seconds: int = 1800
    auto_rollback: bool = False
    heals: bool = False


@dataclass(frozen=True, slots=True)
class Stamp:
    """Of the releases that one commit makes."""

    serial: int
    at: datetime

    @property
    def text(self) -> str:
        return f"{self.at:%Y-%m-%dT%H:%M:%SZ}"


def one_at_a_time(manifest: Manifest) -> bool:
    return manifest.group.role == "control-plane"


def sizes_over(nodes: Collection[LiveNode], manifest: Manifest) -> tuple[int, ...]:
    """How many machines each wave adds, as a person is shown it: 1, 3, 4."""
    sizes = wave_sizes(len(nodes), len({node.zone for node in nodes}), one_at_a_time=one_at_a_time(manifest))
    return tuple(size - before for before, size in zip((0, *sizes), sizes, strict=False))


def waves_over(serial: int, nodes: Collection[LiveNode], *, alone: bool) -> tuple[Wave, ...]:
    """`alone`: one machine a wave."""
    found = cutoffs(serial, nodes, one_at_a_time=alone)
    ranks = [rank(serial, node.instance_id) for node in nodes]
    sizes = [sum(1 for own in ranks if own <= cutoff) for cutoff in found]
    return tuple(
        Wave(cutoff=cutoff, budget=budget_of(size, number, one_at_a_time=alone))
        for number, (cutoff, size) in enumerate(zip(found, sizes, strict=True))
    )


def begun(
    stable: Manifest,
    candidate: Manifest,
    nodes: Collection[LiveNode],
    *,
    terms: Terms,
    stamp: Stamp,
    behind: str = "",
) -> Release:
    """A release with a new rollout; queued if it has to go `behind` another group."""
    rollout = Rollout(
        serial=stamp.serial,
        waves=waves_over(stamp.serial, nodes, alone=one_at_a_time(candidate)),
        opened=stamp.text,
        state="queued" if behind else "running",
        reason=waits_for(behind) if behind else "",
        bake_seconds=terms.bake_seconds,
        deadline_seconds=terms.deadline_seconds,
        auto_rollback=terms.auto_rollback,
        heals=terms.heals,
    )
    return Release(serial=stamp.serial, published=stamp.text, stable=stable, candidate=candidate, rollout=rollout)


def settled(manifest: Manifest, stamp: Stamp) -> Release:
    """A release without a rollout: every node runs this manifest from its next poll on."""
    return Release(serial=stamp.serial, published=stamp.text, stable=manifest)


def changed(release: Release, stamp: Stamp, **fields: object) -> Release:
    """The same release with its rollout changed, under a new serial. The rollout keeps its own: it orders the nodes."""
    assert release.rollout is not None  # only releases with a rollout come here
    rollout = Rollout.model_validate({**release.rollout.model_dump(), **fields})
    return release.model_copy(update={"serial": stamp.serial, "published": stamp.text, "rollout": rollout})


def waits_for(group: str) -> str:
    return f"waits until the rollout of control-plane group {group} is finished"


def blocker(group: str, releases: Mapping[str, Release]) -> str:
    """The control-plane group whose rollout this group's must wait for; empty if it may run now."""
    fronts = sorted(
        (release.rollout.state == "queued", release.rollout.serial, name)
        for name, release in releases.items()
        if release.rollout is not None and one_at_a_time(release.stable)
    )
    own = releases[group]
    if not one_at_a_time(own.stable):
        return fronts[0][2] if fronts else ""
    assert own.rollout is not None  # only groups in a rollout wait
    me = (own.rollout.state == "queued", own.rollout.serial, group)
    return next((front[2] for front in fronts if front[2] != group and (not front[0] or front < me)), "")


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of one group's rollout beside its release."""

    live: tuple[LiveNode, ...] = ()
    outcomes: Outcomes = field(default_factory=Outcomes)
    halt: bool = False  # whether halt/GROUP is there


Kind = Literal["wait", "begin", "draw", "open", "finish", "halt", "pause", "resume", "withdraw"]


@dataclass(frozen=True, slots=True)
class Move:
    """What becomes of one group's rollout. `release` is None if nothing is to be written."""

    group: str
    kind: Kind
    reason: str
    release: Release | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one rollout stands, and what the rules say comes next."""

    progress: Progress
    next: Advance


def standing(rollout: Rollout, sight: Sight, now: datetime) -> Standing:
    since = (now - datetime.fromisoformat(rollout.opened)).total_seconds()
    # Who may not begin cannot be late: time stands still for a rollout that does not run.
    may_begin = rollout.state == "running" and not sight.halt
    live = tuple(node.instance_id for node in sight.live)
    found = progress(rollout, live, sight.outcomes, overdue=may_begin and since > rollout.deadline_seconds)
    return Standing(found, next_step(rollout, found, baked=since >= rollout.bake_seconds, halted=sight.halt))


def moves(
    releases: Mapping[str, Release], sights: Mapping[str, Sight], stamp: Stamp, *, only: Collection[str] | None = None
) -> tuple[Move, ...]:
    """One step of every rollout, in the order of `releases`, which are those with a rollout.

    Never more than one wave of a group opens at once. `only`: the groups that may be moved; the others still count.
    """
    moved: dict[str, Move] = {}
    after = dict(releases)
    for group, release in releases.items():
        if only is None or group in only:
            moved[group] = _step(group, release, sights[group], stamp)
            after[group] = moved[group].release or release
    _take_along(moved, after, stamp)
    _promote(moved, after, sights, stamp)
    return tuple(moved[group] for group in releases if group in moved)


def _step(group: str, release: Release, sight: Sight, stamp: Stamp) -> Move:
    rollout, candidate = release.rollout, release.candidate
    assert rollout is not None  # they come together, and only groups in a rollout are moved
    assert candidate is not None
    if rollout.state == "queued":
        return Move(group, "wait", rollout.reason)
    found = standing(rollout, sight, stamp.at)
    if found.next.step == "halt":
        if rollout.auto_rollback:
            reason = f"taken back by itself: {found.next.reason}"
            return Move(group, "withdraw", reason, settled(release.stable, stamp))
        stopped = changed(release, stamp, state="halted", reason=found.next.reason)
        return Move(group, "halt", found.next.reason, stopped)
    if rollout.state == "running" and sight.halt:
        # Signed, so that its clocks start anew with `resume`; else all that waited meanwhile would count as silent.
        return Move(group, "pause", HALT_OBJECT, changed(release, stamp, state="paused", reason=HALT_OBJECT))
    if found.next.step == "wait":
        return Move(group, "wait", found.next.reason)
    return _onward(group, release, sight, found, stamp)


def _onward(group: str, release: Release, sight: Sight, found: Standing, stamp: Stamp) -> Move:
    rollout, candidate = release.rollout, release.candidate
    assert rollout is not None
    assert candidate is not None
    if sight.live and not found.progress.members and not sight.outcomes.ok:
        # The canary was terminated: an empty wave proves nothing. The order stays, so nobody let in before is let out.
        waves = waves_over(rollout.serial, sight.live, alone=one_at_a_time(candidate))
        reason = "every machine of the open wave is gone; waves drawn anew over those that live"
        return Move(group, "draw", reason, changed(release, stamp, waves=waves, open=0, opened=stamp.text))
    if found.next.step == "finish":
        return Move(group, "finish", found.next.reason, settled(candidate, stamp))
    opened = changed(release, stamp, open=rollout.open + 1, opened=stamp.text)
    return Move(group, "open", found.next.reason, opened)


def withdrawn_with(group: str, releases: Mapping[str, Release]) -> Iterator[str]:
    """Groups whose candidate goes when this one's does: what waits for a control plane must not run on its old one."""
    if one_at_a_time(releases[group].stable):
        yield from (
            name
            for name, release in releases.items()
            if name != group and release.rollout is not None and release.rollout.state == "queued"
        )


def _take_along(moved: dict[str, Move], after: dict[str, Release], stamp: Stamp) -> None:
    for group in [group for group, move in moved.items() if move.kind == "withdraw"]:
        for name in tuple(withdrawn_with(group, after)):
            reason = f"taken back with control-plane group {group}, which it waited for"
            after[name] = settled(after[name].stable, stamp)
            moved[name] = Move(name, "withdraw", reason, after[name])


def _promote(moved: dict[str, Move], after: dict[str, Release], sights: Mapping[str, Sight], stamp: Stamp) -> None:
    for group in moved:
        release = after[group]
        if release.rollout is None or release.candidate is None or release.rollout.state != "queued":
            continue
        if ahead := blocker(group, after):
            moved[group] = Move(group, "wait", waits_for(ahead))
            continue
        if not sights[group].live:
            after[group] = settled(release.candidate, stamp)
            moved[group] = Move(group, "finish", "no node of the group lives", after[group])
            continue
        # Nobody was let in yet, so the waves are drawn over those that live now.
        waves = waves_over(release.rollout.serial, sights[group].live, alone=one_at_a_time(release.candidate))
        after[group] = changed(release, stamp, waves=waves, state="running", reason="", opened=stamp.text)
        moved[group] = Move(group, "begin", "nothing is ahead of it any more", after[group])
