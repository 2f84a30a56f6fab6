"""`coordinator rollout status`: where each rollout stands, who failed and why, and what the next wave waits for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from coordinator.inventory import NodeRow
from coordinator.rollouts import sizes_over, standing
from coordinator.rollouts_sight import Observed
from units.manifest import Release

SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Failing:
    """The first node that failed, or fell silent, in its own words."""

    instance_id: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class GroupRollout:
    """One row. `gate`: what the next step waits for, empty if it may be taken now."""

    group: str
    role: str
    serial: int
    rollout_serial: int
    state: str
    wave: int  # from 1
    waves: int
    sizes: tuple[int, ...]
    live: int
    members: int
    ok: int
    failed: tuple[str, ...]
    silent: tuple[str, ...]
    pending: tuple[str, ...]
    opened: str
    next: str
    gate: str
    failing: Failing | None

    @property
    def document(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "role": self.role,
            "serial": self.serial,
            "rollout": self.rollout_serial,
            "state": self.state,
            "wave": self.wave,
            "waves": self.waves,
            "wave_sizes": list(self.sizes),
            "live_nodes": self.live,
            "members": self.members,
            "ok": self.ok,
            "failed": list(self.failed),
            "silent": list(self.silent),
            "pending": list(self.pending),
            "opened": self.opened,
            "next": self.next,
            "gate": self.gate or None,
            "first_failing": None
            if self.failing is None
            else {
                "instance_id": self.failing.instance_id,
                "reason": self.failing.reason,
                "remedy": self.failing.remedy,
            },
        }


def report(observed: Observed) -> tuple[GroupRollout, ...]:
    return tuple(_row(group, release, observed) for group, release in observed.releases.items())


def _row(group: str, release: Release, observed: Observed) -> GroupRollout:
    rollout, sight = release.rollout, observed.sights[group]
    assert rollout is not None  # `releases` are those with one
    found = standing(rollout, sight, observed.now)
    progress = found.progress
    return GroupRollout(
        group=group,
        role=release.stable.group.role,
        serial=release.serial,
        rollout_serial=rollout.serial,
        state=rollout.state,
        wave=rollout.open + 1,
        waves=len(rollout.waves),
        sizes=sizes_over(sight.live, release.stable),
        live=len(sight.live),
        members=len(progress.members),
        ok=len(progress.ok),
        failed=progress.failed,
        silent=progress.silent,
        pending=progress.pending,
        opened=rollout.opened,
        next=found.next.step,
        gate=_gate(group, release, observed),
        failing=_failing((*progress.failed, *progress.silent), observed.rows),
    )


def _gate(group: str, release: Release, observed: Observed) -> str:
    """In the words of the rule that waits, with what a person needs to do something about it."""
    rollout, sight = release.rollout, observed.sights[group]
    assert rollout is not None
    found = standing(rollout, sight, observed.now)
    if rollout.state != "running":
        return f"{rollout.state}: {rollout.reason}" if rollout.reason else rollout.state
    if sight.halt:
        return (
            f"{found.next.reason} (put there {observed.halts[group]})" if group in observed.halts else found.next.reason
        )
    if found.next.step != "wait":
        return ""
    if found.progress.pending:
        return f"{found.next.reason}: {_pending(found.progress.pending, observed.rows)}"
    left = rollout.bake_seconds - (observed.now - datetime.fromisoformat(rollout.opened)).total_seconds()
    return f"{found.next.reason} for another {max(0, round(left))} s"


def _pending(instance_ids: tuple[str, ...], rows: Mapping[str, NodeRow]) -> str:
    texts = []
    for instance_id in instance_ids[:SHOWN]:
        row = rows.get(instance_id)
        why = row.why or row.reason if row else ""
        texts.append(f"{instance_id} ({why})" if why else instance_id)
    more = f" and {len(instance_ids) - SHOWN} more" if len(instance_ids) > SHOWN else ""
    return ", ".join(texts) + more


def _failing(instance_ids: tuple[str, ...], rows: Mapping[str, NodeRow]) -> Failing | None:
    if not instance_ids:
        return None
    # One that says why is worth more than one that is first by name.
    chosen = next((one for one in instance_ids if one in rows and rows[one].reason), instance_ids[0])
    row = rows.get(chosen)
    if row is None:
        return Failing(chosen, "has no status object any more", "")
    return Failing(chosen, row.reason or "says nothing of it", row.remedy)
