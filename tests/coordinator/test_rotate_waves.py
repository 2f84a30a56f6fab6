"""A phase of a rotation over live nodes: in waves as every change, and not confirmed before all of them are done."""

from dataclasses import replace
from pathlib import Path

import pytest

from coordinator.advance import Advanced, advance
from coordinator.inventory import Inventory
from coordinator.layout import outcome_prefix
from coordinator.publish import PublishRequest, prepare, publish
from coordinator.published import read_release
from coordinator.rollouts import Terms
from coordinator.rollouts_orders import Order, carry_out
from coordinator.rollouts_sight import Lookout
from coordinator.rotation.overview import overlook
from coordinator.rotation.publication import PlannedPhase, RotationTools, prepare_phase, publish_phase
from coordinator.state import Lifetimes
from tests.coordinator.test_rotate_phases import GROUPS, Desk, manifest_of, preview_double, refused
from tests.coordinator.workshop import CLUSTER, Workshop
from units.errors import Refused, Retryable
from units.manifest import Release, manifest_digest
from units.rollout import wave_of

NODES = {"i-0c": "cp-a", "i-0w": "workers", "i-1w": "workers", "i-2w": "workers"}


class WaveDesk(Desk):
    """Nodes that run what they are told to, wave by wave."""

    @property
    def tools(self) -> RotationTools:
        return replace(super().tools, terms=Terms(bake_seconds=60))

    @property
    def lookout(self) -> Lookout:
        return Lookout(CLUSTER, self.workshop.repository, Inventory(self.workshop.store, self.clock), self.clock)

    def release(self, group: str) -> Release:
        return read_release(self.workshop.repository, CLUSTER, self.workshop.repository.read().groups[group])

    def say_ready(self) -> None:
        """Everybody polls, takes what his wave allows, and says so."""
        for instance, group in NODES.items():
            release = self.release(group)
            rollout, running = release.rollout, release.stable
            runs = rollout is not None and rollout.state == "running"
            if rollout and release.candidate and runs and wave_of(rollout, instance) <= rollout.open:
                running = release.candidate
                self.workshop.store.put(f"{outcome_prefix(group, rollout.serial)}ok/{instance}", b"")
            self.say(instance, group, manifest=manifest_digest(running))

    def advance(self) -> Advanced:
        self.clock.advance(seconds=60)
        return advance(self.lookout, self.workshop.signing, by="tests")

    def finish(self) -> int:
        """How many steps it took."""
        for step in range(1, 20):
            self.say_ready()
            self.advance()
            if not self.rolling():
                return step
        raise AssertionError("the phase does not come to its end")

    def rolling(self) -> dict[str, str]:
        found = {group: self.release(group).rollout for group in GROUPS}
        return {group: rollout.state for group, rollout in found.items() if rollout}

    def publish_in_waves(self) -> None:
        request = PublishRequest(CLUSTER, None, Lifetimes(), terms=Terms(bake_seconds=60))
        publication = prepare(
            self.workshop.repository,
            request,
            lambda public, _assets: {group: manifest_of(group, public) for group in GROUPS},
            preview_double,
            self.clock,
        )
        publish(publication, self.workshop.repository, self.workshop.signing, by="tests", clock=self.clock)


@pytest.fixture
def desk(workshop: Workshop) -> WaveDesk:
    made = WaveDesk(workshop)
    made.publish_spec()
    made.say_ready()
    return made


def test_a_phase_over_live_nodes_begins_on_one_control_plane_node_and_the_workers_wait(desk: WaveDesk) -> None:
    before = {group: desk.release(group).stable for group in GROUPS}
    planned = desk.look("kubernetes", "add")
    assert isinstance(planned, PlannedPhase)
    assert [change.reach.in_waves for change in planned.publication.changes if change.reach] == [True, True]
    desk.rotate("kubernetes", "add")
    assert desk.rolling() == {"cp-a": "running", "workers": "queued"}
    assert {group: desk.release(group).stable for group in GROUPS} == before
    assert len(desk.bundle("kubernetes")) == 2  # what an ordinary publish would carry along
    for group in GROUPS:
        candidate = desk.release(group).candidate
        assert candidate is not None
        assert "".join(desk.bundle("kubernetes")) == candidate.trust.authority("kubernetes").bundle
    desk.finish()
    assert {desk.serial(group) >= 2 for group in GROUPS} == {True}


def test_a_whole_rotation_in_waves(desk: WaveDesk) -> None:
    for phase in ("add", "sign", "retire"):
        assert desk.rotate("kubernetes", phase)
        assert desk.finish() >= 3  # the control plane, a canary, the others
        desk.say_ready()
    assert len(desk.bundle("kubernetes")) == 1


def test_the_next_phase_waits_for_the_waves_and_for_nodes_that_have_not_looked_since(desk: WaveDesk) -> None:
    desk.rotate("kubernetes", "add")
    with pytest.raises(Retryable, match="a rollout is under way"):
        desk.look("kubernetes", "sign")
    (first, *_rest) = overlook(desk.workshop.repository, desk.workshop.directory, desk.clock()).rings
    assert {node.instance_id for node in first.unconfirmed} == set(NODES)  # also those whose wave is not open
    old = manifest_digest(desk.release("workers").stable)
    desk.finish()
    desk.say_ready()
    desk.say("i-2w", "workers", manifest=old)  # it knows the serial, and runs what it ran
    error = refused(lambda: desk.look("kubernetes", "sign"))
    assert error.code == "rotation-unconfirmed"
    assert f"i-2w (workers): runs manifest {old[:12]}" in error.message
    desk.say_ready()
    assert desk.rotate("kubernetes", "sign")


def test_a_phase_that_was_taken_back_is_no_phase_until_it_is_published_again(desk: WaveDesk) -> None:
    desk.rotate("kubernetes", "add")
    carry_out(Order("abort", "tests"), desk.lookout, desk.workshop.signing)
    desk.say_ready()
    error = refused(lambda: desk.look("kubernetes", "sign"))
    assert isinstance(error, Refused)
    assert error.code == "rotation-taken-back"
    (first, *_rest) = overlook(desk.workshop.repository, desk.workshop.directory, desk.clock()).rings
    assert [(node.group, "taken back" in node.reason) for node in first.unconfirmed] == [
        ("cp-a", True),
        ("workers", True),
    ]
    desk.publish_in_waves()
    assert desk.rolling() == {"cp-a": "running", "workers": "queued"}
    desk.finish()
    desk.say_ready()
    assert desk.rotate("kubernetes", "sign")


def test_at_once_everybody_takes_it_at_the_next_poll(desk: WaveDesk, tmp_path: Path) -> None:
    tools = replace(desk.tools, terms=None)
    planned = desk.look("kubernetes", "add")
    assert isinstance(planned, PlannedPhase)
    planned = prepare_phase(planned.request, tools)
    assert isinstance(planned, PlannedPhase)
    publish_phase(planned, tools, desk.workshop.signing, by="tests")
    assert desk.rolling() == {}
