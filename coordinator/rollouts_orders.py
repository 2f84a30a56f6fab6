"""What a person orders: `rollout pause`, `resume` and `abort`. Signed commits like those of `advance`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from coordinator.advance import Advanced, draft_of, require_published
from coordinator.draft import Draft
from coordinator.keys import SigningKeys
from coordinator.rollouts import (
    HALT_OBJECT,
    Move,
    Sight,
    Stamp,
    blocker,
    changed,
    settled,
    standing,
    waits_for,
    withdrawn_with,
)
from coordinator.rollouts_sight import Lookout, Observed
from coordinator.state import State
from units.errors import Invalid, Refused
from units.manifest import Release, Rollout, Wave

Verb = Literal["pause", "resume", "abort"]


@dataclass(frozen=True, slots=True)
class Order:
    """`groups` None: every group in a rollout. `accept_failures`: resume although its budget is used up."""

    verb: Verb
    by: str
    groups: Collection[str] | None = None
    reason: str = ""
    accept_failures: bool = False


def carry_out(order: Order, lookout: Lookout, keys: SigningKeys) -> Advanced:
    """Idempotent: what is so already is told, and not written again."""
    taken: list[tuple[tuple[Move, ...], Observed]] = []

    def decide(state: State) -> Draft | None:
        require_published(state, order.groups)
        observed = lookout.look(state)
        stamp = Stamp(state.note.serial + 1, observed.now)
        found = _moves(order, observed, stamp)
        taken[:] = [(found, observed)]
        return draft_of(found, stamp, what=f"rollout {order.verb}", by=order.by)

    committed = lookout.repository.commit(decide, keys)
    found, observed = taken[0]
    return Advanced(found, observed, committed)


def _moves(order: Order, observed: Observed, stamp: Stamp) -> tuple[Move, ...]:
    releases = observed.releases
    groups = list(releases) if order.groups is None else list(order.groups)
    if idle := [group for group in groups if group not in releases]:
        raise Invalid(
            "rollout-none",
            f"no rollout is under way in {', '.join(idle)}",
            remedy="coordinator rollout status; to return to an older manifest: coordinator rollback",
        )
    if order.verb == "abort":
        return tuple(_aborted(groups, releases, order, stamp))
    if order.verb == "pause":
        return tuple(_paused(group, releases[group], order, stamp) for group in groups)
    after = dict(releases)
    found = []
    for group in groups:
        move = _resumed(group, after, observed.sights[group], order, stamp)
        after[group] = move.release or after[group]
        found.append(move)
    return tuple(found)


def _aborted(groups: Collection[str], releases: Mapping[str, Release], order: Order, stamp: Stamp) -> list[Move]:
    along = {name: group for group in groups for name in withdrawn_with(group, releases) if name not in groups}
    said = order.reason or f"aborted by {order.by}"
    return [
        *(Move(group, "withdraw", said, settled(releases[group].stable, stamp)) for group in groups),
        *(
            Move(name, "withdraw", f"it waited for {group}, which was aborted", settled(releases[name].stable, stamp))
            for name, group in along.items()
        ),
    ]


def _paused(group: str, release: Release, order: Order, stamp: Stamp) -> Move:
    rollout = _rollout(release)
    if rollout.state in ("paused", "halted"):
        return Move(group, "wait", f"is {rollout.state} already: {rollout.reason}")
    reason = order.reason or f"paused by {order.by}"
    return Move(group, "pause", reason, changed(release, stamp, state="paused", reason=reason))


def _resumed(group: str, releases: Mapping[str, Release], sight: Sight, order: Order, stamp: Stamp) -> Move:
    release, rollout = releases[group], _rollout(releases[group])
    if rollout.state in ("running", "queued"):
        return Move(group, "wait", f"is {rollout.state} already")
    if sight.halt:
        raise Refused(
            "rollout-halt-object",
            f"{group}: {HALT_OBJECT}; its nodes would not go on",
            remedy=f"coordinator unhalt {group}",
        )
    ahead = blocker(group, releases)
    waves = rollout.waves
    running = rollout.model_copy(update={"state": "running", "opened": stamp.text})
    if not ahead and standing(running, sight, stamp.at).next.step == "halt":
        if not order.accept_failures:
            raise Refused(
                "rollout-over-budget",
                f"{group}: {rollout.reason or 'its budget is used up'}; it would be halted again at once",
                remedy=f"coordinator rollout abort {group}, or publish a corrected manifest; "
                "--accept-failures goes on all the same",
            )
        failed = len(sight.outcomes.failed)
        waves = tuple(Wave(cutoff=wave.cutoff, budget=max(wave.budget, failed)) for wave in waves)
    state, reason = ("queued", waits_for(ahead)) if ahead else ("running", "")
    fields = {"state": state, "reason": reason, "opened": stamp.text, "waves": waves}
    return Move(group, "resume", order.reason or f"resumed by {order.by}", changed(release, stamp, **fields))


def _rollout(release: Release) -> Rollout:
    assert release.rollout is not None  # `Observed.releases` are those with one
    return release.rollout
