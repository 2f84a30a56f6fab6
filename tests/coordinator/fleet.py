"""A workshop with published groups, and nodes that do what nodes do: take candidates and leave markers."""

from collections.abc import Mapping

from coordinator.advance import Advanced, advance
from coordinator.inventory import Departed, Inventory, nobody
from coordinator.layout import outcome_prefix
from coordinator.preview import GroupDiff, ItemDiff
from coordinator.publish import Publication, PublishRequest, prepare, publish
from coordinator.published import read_release
from coordinator.repository import Committed
from coordinator.rollouts import Terms
from coordinator.rollouts_orders import Order, Verb, carry_out
from coordinator.rollouts_report import GroupRollout, report
from coordinator.rollouts_sight import Lookout
from coordinator.state import Lifetimes
from tests.coordinator.workshop import CLUSTER, Workshop
from tests.units.sample import manifest as sample
from units.manifest import Manifest, Release
from units.rollout import rank, wave_of
from units.status import NodeStatus, encode_status

PLAIN: Mapping[str, str] = {"workers": "node"}
IMAGE = "registry.k8s.io/pause:"


def manifest_of(group: str, role: str = "node", version: str = "1") -> Manifest:
    plain = sample(role, pause_image=IMAGE + version)
    return plain.model_copy(update={"group": plain.group.model_copy(update={"name": group})})


def version_of(manifest: Manifest | None) -> str:
    return "" if manifest is None else manifest.pause_image.removeprefix(IMAGE)


def preview_double(before: Manifest | None, after: Manifest) -> GroupDiff:
    """Stands for the planner, which has its own tests: a line that says from what to what."""
    if version_of(before) == version_of(after):
        return GroupDiff(after.group.name, ())
    line = f"-{version_of(before)} +{version_of(after)}"
    return GroupDiff(after.group.name, (ItemDiff("file:/etc/motd", "change", (line,)),))


class FleetDouble:
    """Nodes are status objects and markers here; `units.rollout.decide` has its tests elsewhere."""

    def __init__(
        self,
        workshop: Workshop,
        groups: Mapping[str, str] = PLAIN,
        *,
        terms: Terms | None = None,
        departed: Departed = nobody,
    ) -> None:
        self.workshop = workshop
        self.clock = workshop.clock
        self.groups = dict(groups)
        self.versions = dict.fromkeys(groups, "1")
        self.terms = terms or Terms()
        self.departed = departed
        self.inventory = Inventory(workshop.store, workshop.clock)

    # -- the operator

    def look(self, *, repair: bool = False) -> Publication:
        compiled = {name: manifest_of(name, role, self.versions[name]) for name, role in self.groups.items()}
        request = PublishRequest(CLUSTER, None, Lifetimes(), repair=repair, terms=self.terms, departed=self.departed)
        return prepare(self.workshop.repository, request, lambda _public, _assets: compiled, preview_double, self.clock)

    def sign(self, publication: Publication) -> Committed:
        return publish(publication, self.workshop.repository, self.workshop.signing, by="tests", clock=self.clock)

    def publish(self, **versions: str) -> Committed:
        self.versions |= {name.replace("_", "-"): version for name, version in versions.items()}
        return self.sign(self.look())

    @property
    def lookout(self) -> Lookout:
        return Lookout(CLUSTER, self.workshop.repository, self.inventory, self.clock, self.departed)

    def advance(self, *groups: str) -> Advanced:
        return advance(self.lookout, self.workshop.signing, by="tests", only=groups or None)

    def step(self, group: str = "workers") -> str:
        return next((move.kind for move in self.advance().moves if move.group == group), "none")

    def order(self, verb: Verb, *groups: str, accept_failures: bool = False) -> Advanced:
        order = Order(verb, "tests", groups or None, accept_failures=accept_failures)
        return carry_out(order, self.lookout, self.workshop.signing)

    # -- what is published

    def release(self, group: str = "workers") -> Release:
        return read_release(self.workshop.repository, CLUSTER, self.workshop.repository.read().groups[group])

    def standing(self, group: str = "workers") -> tuple[str, str, str, int]:
        """Stable version, candidate's, state and open wave."""
        release = self.release(group)
        rollout = release.rollout
        state, opened = (rollout.state, rollout.open) if rollout else ("", -1)
        return version_of(release.stable), version_of(release.candidate), state, opened

    def report(self) -> dict[str, GroupRollout]:
        return {row.group: row for row in report(self.lookout.look(self.workshop.repository.read()))}

    # -- the nodes

    def say(self, instance_id: str, group: str = "workers", **fields: object) -> None:
        words = {"zone": f"eu-west-1{'abc'[int(instance_id[-1], 16) % 3]}", "stage": "ready", **fields}
        status = NodeStatus(instance_id=instance_id, group=group, **words)
        self.workshop.store.put(f"status/{instance_id}.json", encode_status(status))

    def live(self, number: int, group: str = "workers") -> list[str]:
        ids = [f"i-{group}-{one:04x}" for one in range(number)]
        for one in ids:
            self.say(one, group)
        return ids

    def mark(self, kind: str, instance_id: str, group: str = "workers") -> None:
        rollout = self.release(group).rollout
        assert rollout is not None
        self.workshop.store.put(f"{outcome_prefix(group, rollout.serial)}{kind}/{instance_id}", b"")

    def members(self, ids: list[str], group: str = "workers") -> list[str]:
        """Those that the open wave lets in, in their order."""
        rollout = self.release(group).rollout
        assert rollout is not None
        let_in = [one for one in ids if wave_of(rollout, one) <= rollout.open]
        return sorted(let_in, key=lambda one: rank(rollout.serial, one))

    def take(self, ids: list[str], group: str = "workers") -> None:
        """Everyone who is let in takes the candidate."""
        for one in self.members(ids, group):
            self.mark("ok", one, group)

    def roll(self, ids: list[str], group: str = "workers", most: int = 30) -> int:
        """Until the rollout is finished; how many waves it had."""
        for waves in range(1, most):
            self.take(ids, group)
            self.clock.advance(seconds=self.terms.bake_seconds)
            self.advance()
            if self.release(group).rollout is None:
                return waves
        raise AssertionError("the rollout does not come to its end")
