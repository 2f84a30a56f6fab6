"""What a step of a rollout rests on: releases, markers, halt objects and the live inventory, read from the store."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

from coordinator.inventory import LIVES, Departed, Inventory, NodeRow, live_nodes, nobody, without
from coordinator.layout import outcome_prefix
from coordinator.published import read_releases
from coordinator.repository import PARALLEL, Clock, Repository
from coordinator.rollouts import Sight, standing
from coordinator.rollouts_halts import Halt, read_halts
from coordinator.state import State
from coordinator.store import Store
from units.manifest import Release
from units.rollout import Outcomes

if TYPE_CHECKING:
    from coordinator.location import Cluster

MOST_MARKERS: Final = 200_000
_LONGEST_ID: Final = 64


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything about the groups that are in a rollout, at one moment."""

    state: State
    now: datetime
    releases: Mapping[str, Release] = field(repr=False)
    sights: Mapping[str, Sight] = field(repr=False)
    rows: Mapping[str, NodeRow] = field(repr=False)  # of their nodes, by instance id
    halts: Mapping[str, Halt] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lookout:
    """The places where to look."""

    cluster: str
    repository: Repository
    inventory: Inventory
    clock: Clock
    departed: Departed = nobody

    def look(self, state: State) -> Observed:
        """Reads statuses only if a rollout is under way."""
        rolling = [group for group in state.groups.values() if group.candidate_sha256]
        now = self.clock()
        if not rolling:
            return Observed(state, now, {}, {}, {})
        releases = {
            name: release
            for name, release in read_releases(self.repository, self.cluster, rolling).items()
            if release.rollout is not None
        }
        rows = self.inventory.rows()
        store = self.repository.store
        halts = read_halts(store)
        with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
            outcomes = dict(
                zip(releases, pool.map(lambda item: read_outcomes(store, *item), _serials(releases)), strict=True)
            )
        sights = {
            group: self._sight(group, release, rows, Sight((), outcomes[group], group in halts), now)
            for group, release in releases.items()
        }
        return Observed(
            state, now, releases, sights, {row.instance_id: row for row in rows if row.group in releases}, halts
        )

    def _sight(self, group: str, release: Release, rows: tuple[NodeRow, ...], known: Sight, now: datetime) -> Sight:
        rollout = release.rollout
        assert rollout is not None  # only releases with a rollout are looked at
        # Whoever lived when the wave opened must be heard of; who has died since would else just fall out of the count.
        opened = now if rollout.state == "queued" else min(now, datetime.fromisoformat(rollout.opened))
        live = live_nodes((row for row in rows if row.group == group), opened - LIVES).get(group, ())
        everyone = Sight(live, known.outcomes, known.halt)
        found = standing(rollout, everyone, now).progress
        unheard = {*found.pending, *found.silent}
        # EC2 is asked about the few that matter: those that a wave waits for, or all before waves are drawn.
        asked = unheard if unheard and rollout.state != "queued" else None
        remaining = without(live, self.departed, asked)
        if asked is not None and not standing(rollout, Sight(remaining, known.outcomes), now).progress.members:
            remaining = without(remaining, self.departed)
        return Sight(remaining, known.outcomes, known.halt)


def lookout_of(here: "Cluster", repository: Repository | None = None) -> Lookout:
    """For a command."""
    from coordinator.repository import utc_now

    opened = repository or here.open_repository()
    return Lookout(here.name, opened, Inventory(opened.store, utc_now), utc_now, departed_of(here))


def departed_of(here: "Cluster") -> Departed:
    """EC2's word about which machines are gone, where the cluster is in AWS."""
    if here.bucket is None:
        return nobody
    from coordinator.aws.ec2 import Ec2

    return Ec2(here.aws).gone


def read_outcomes(store: Store, group: str, rollout_serial: int) -> Outcomes:
    """From one LIST. Markers are empty; a name that is no plain id is left aside."""
    prefix = outcome_prefix(group, rollout_serial)
    found: dict[str, set[str]] = {"ok": set(), "failed": set()}
    for item in islice(store.list(prefix), MOST_MARKERS):
        kind, _, instance_id = item.key.removeprefix(prefix).partition("/")
        if kind in found and instance_id and "/" not in instance_id and len(instance_id) <= _LONGEST_ID:
            found[kind].add(instance_id)
    return Outcomes(frozenset(found["ok"]), frozenset(found["failed"]))


def _serials(releases: Mapping[str, Release]) -> list[tuple[str, int]]:
    return [(group, release.rollout.serial) for group, release in releases.items() if release.rollout is not None]
