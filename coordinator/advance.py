"""`coordinator advance`: one step of every rollout, as one signed commit, or nothing.

It holds no state: whoever runs it, wherever and however often, takes the same step from the same store. Killed between
two writes it has either committed or not; two at once, one commits and the other looks again.
"""

from collections.abc import Collection
from dataclasses import dataclass

from coordinator.draft import Draft, NewTarget
from coordinator.keys import SigningKeys
from coordinator.layout import group_target
from coordinator.repository import Committed
from coordinator.rollouts import Move, Stamp, moves
from coordinator.rollouts_sight import Lookout, Observed
from coordinator.state import PublishedGroup, State
from units.errors import Invalid
from units.manifest import encode_release


@dataclass(frozen=True, slots=True)
class Advanced:
    """`moves` of all groups in a rollout; `committed` is None if there was nothing to write."""

    moves: tuple[Move, ...]
    observed: Observed
    committed: Committed | None

    @property
    def serial(self) -> int | None:
        return self.committed.state.note.serial if self.committed else None


def advance(lookout: Lookout, keys: SigningKeys, *, by: str, only: Collection[str] | None = None) -> Advanced:
    """`only`: the groups that may move. Invalid if one of them is not in a rollout and never was published."""
    taken: list[tuple[tuple[Move, ...], Observed]] = []

    def decide(state: State) -> Draft | None:
        require_published(state, only)
        observed = lookout.look(state)
        stamp = Stamp(state.note.serial + 1, observed.now)
        found = moves(observed.releases, observed.sights, stamp, only=only)
        taken[:] = [(found, observed)]
        return draft_of(found, stamp, what="advance", by=by)

    committed = lookout.repository.commit(decide, keys)
    found, observed = taken[0]
    return Advanced(found, observed, committed)


def draft_of(found: Collection[Move], stamp: Stamp, *, what: str, by: str) -> Draft | None:
    """All groups' new releases in one commit; None if no release changes."""
    written = [move for move in found if move.release is not None]
    if not written:
        return None
    targets = {}
    for move in written:
        assert move.release is not None  # of `written`
        body = encode_release(move.release)
        targets[group_target(move.group)] = NewTarget(body, PublishedGroup.custom_of(move.release))
    told = "; ".join(f"{move.group} {told_of(move)}" for move in written[:5])
    more = f" and {len(written) - 5} more" if len(written) > 5 else ""
    return Draft(what=f"{what}: {told}{more}", by=by, targets=targets, serial=stamp.serial)


def told_of(move: Move) -> str:
    """What was done, in a few words; `reason` says why."""
    rollout = move.release.rollout if move.release else None
    wave = f"wave {rollout.open + 1} of {len(rollout.waves)}" if rollout else ""
    texts = {
        "begin": f"begins, {wave}",
        "draw": f"draws its waves anew, {wave}",
        "open": f"opens {wave}",
        "finish": "is finished: the candidate is stable",
        "halt": "is halted",  # the reason says in which wave
        "pause": f"is paused in {wave}",
        "withdraw": "goes back: the candidate is withdrawn",
        "resume": f"goes on in {wave}" if rollout and rollout.state == "running" else "is queued again",
    }
    return texts.get(move.kind, move.kind)


def require_published(state: State, groups: Collection[str] | None) -> None:
    unknown = sorted(set(groups or ()) - set(state.groups))
    if unknown:
        raise Invalid(
            "group-unknown",
            f"no group {', '.join(map(repr, unknown))} is published; {', '.join(state.groups) or 'none'} are",
            remedy="coordinator history shows when a group was removed",
        )
