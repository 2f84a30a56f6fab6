"""A cluster's life in any order: boots cut off between any two steps, volumes lost and replaced, and one truth.

The machines run the real resources; etcd is a model of what was measured (etcd-pki.md 2.3): who may start how, who
panics, when there is a quorum. What must never happen: an empty cluster in the place of one that stored something, a
member that comes back under its old id without what it acknowledged, and more than a minority given up.
"""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.units.etcd_cluster_double import EtcdClusterDouble, url
from tests.units.etcd_member import ENVIRONMENT, KEY, MOUNT, WAL, Member, has_log, member, record_of
from units.errors import BootwrightError
from units.etcd_members import Member as Listed
from units.etcd_members import quorum
from units.host import Answer
from units.memory import MemoryRecords


@dataclass
class Life:
    members: tuple[str, ...]
    records: MemoryRecords = field(default_factory=MemoryRecords)
    cluster: EtcdClusterDouble = field(default_factory=lambda: EtcdClusterDouble([]))
    machines: dict[str, Member] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)  # volume -> id of the member that has its log there
    up: set[str] = field(default_factory=set)  # members whose etcd runs
    stored: bool = False  # somebody was established: API servers may have written
    volumes: int = 0

    def __post_init__(self) -> None:
        for name in self.members:
            self.new_machine(name, f"vol-{name}")

    def new_machine(self, name: str, volume_id: str) -> None:
        made = member(name, self.members, self.records, volume_id=volume_id, etcd=self.cluster)
        made.machine.probes.get = lambda _url: self.answer(name)  # type: ignore[method-assign]
        self.machines[name] = made

    def answer(self, name: str) -> Answer | None:
        if name not in self.up:
            return None
        mine = next((m for m in self.cluster.members if url(name) in m.peer_urls), None)
        ready = mine is not None and mine.healthy and not mine.learner and self.has_quorum()
        return Answer(200 if ready else 503, "")

    def has_quorum(self) -> bool:
        voters = [m for m in self.cluster.members if not m.learner]
        return bool(voters) and sum(m.healthy for m in voters) >= quorum(len(voters))

    def start(self, name: str) -> None:
        """What the unit does: etcd with the state that lies there."""
        one = self.machines[name]
        if ENVIRONMENT not in one.machine.files.entries or name in self.up:
            return
        if has_log(one):
            self._comes_back(one)
        elif one.granted == "new":
            self._begins(one)
        else:
            self._joins(one)

    def _begins(self, one: Member) -> None:
        if self.has_quorum() and any(m.name == one.name and m.client_urls for m in self.cluster.members):
            return  # "member has already been bootstrapped"
        listed = not self.cluster.members or any(url(one.name) in m.peer_urls for m in self.cluster.members)
        assert listed, f"{one.name} begins a log under an id that was removed"
        assert not self.stored or self._is_unseen(one.name), f"{one.name} begins anew where something was stored"
        one.start_etcd()
        if not self.cluster.members:
            self.cluster.members = [Listed(n, name, (url(name),)) for n, name in enumerate(self.members, 1)]
        self._runs(one, self.cluster.at(one.name).id)

    def _joins(self, one: Member) -> None:
        mine = next((m for m in self.cluster.members if url(one.name) in m.peer_urls), None)
        if mine is None or not self.has_quorum() or len(self.cluster.members) != len(self.members):
            return  # it exits: nobody to fetch the cluster from, or a list that differs
        assert mine.id not in self.ids.values(), f"{one.name} panics: it forgot what it acknowledged"
        one.start_etcd()
        self._runs(one, mine.id)

    def _comes_back(self, one: Member) -> None:
        known = self.ids[one.volume_id]
        if any(m.id == known for m in self.cluster.members):
            self._runs(one, known)

    def _runs(self, one: Member, member_id: int) -> None:
        self.ids[one.volume_id] = member_id
        self.up.add(one.name)
        self.cluster.members = [
            replace(m, name=one.name, healthy=True, client_urls=("https://x",)) if m.id == member_id else m
            for m in self.cluster.members
        ]

    def _is_unseen(self, name: str) -> bool:
        return self.cluster.at(name).id not in self.ids.values()

    def stop(self, name: str) -> None:
        self.up.discard(name)
        self.cluster.fell(name)
        self.machines[name].machine.files.entries.pop(ENVIRONMENT, None)

    def decide(self, name: str) -> None:
        one = self.machines[name]
        try:
            if one.bootstrap.check(one.machine.host):
                one.bootstrap.apply(one.machine.host)
        except BootwrightError:
            return

    def establish(self, name: str) -> None:
        one = self.machines[name]
        try:
            if ENVIRONMENT in one.machine.files.entries and one.established.check(one.machine.host):
                one.established.apply(one.machine.host)
                self.stored = True
        except BootwrightError:
            return

    def boot(self, name: str) -> None:
        self.decide(name)
        self.start(name)
        self.establish(name)


class Lives(RuleBasedStateMachine):
    members: tuple[str, ...] = ("a", "b", "c")

    def __init__(self) -> None:
        super().__init__()
        self.life = Life(self.members)
        self.lost: set[str] = set()  # members whose data of a stored cluster is gone, and who do not vote again yet

    @rule(data=st.data(), step=st.sampled_from(["decide", "start", "establish"]))
    def run_one_step(self, data: st.DataObject, step: str) -> None:
        getattr(self.life, step)(data.draw(st.sampled_from(self.members)))

    @rule(data=st.data())
    def boot(self, data: st.DataObject) -> None:
        self.life.boot(data.draw(st.sampled_from(self.members)))

    @rule(data=st.data())
    def cut_the_power(self, data: st.DataObject) -> None:
        self.life.stop(data.draw(st.sampled_from(self.members)))

    @rule(data=st.data())
    def move_to_another_machine(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.members))
        before = self.life.machines[name]
        self.life.stop(name)
        self.life.new_machine(name, before.volume_id)
        self.life.machines[name].machine.files.mounted = before.machine.files.mounted

    @precondition(lambda self: self.life.stored)
    @rule(data=st.data(), empty=st.sampled_from(["a new volume", "its files"]))
    def lose_data(self, data: st.DataObject, empty: str) -> None:
        name = data.draw(st.sampled_from(self.members))
        self.life.stop(name)
        if empty == "its files":
            self.life.machines[name].lose_data()
            return
        self.life.volumes += 1
        self.life.new_machine(name, f"vol-{name}-{self.life.volumes}")

    @invariant()
    def under_an_established_record_nothing_begins(self) -> None:
        """A grant that was given before may lie there; what it does then is `_begins`."""
        if KEY in self.life.records.objects and record_of(self.life.records).state == "established":
            for one in self.life.machines.values():
                before = one.machine.files.entries.get(ENVIRONMENT)
                if before is None:
                    self.life.decide(one.name)
                    now = one.machine.files.entries.pop(ENVIRONMENT, None)
                    assert now is None or b"new" not in (now.content or b"")

    @invariant()
    def a_log_is_of_one_member(self) -> None:
        for one in self.life.machines.values():
            assert not has_log(one) or one.volume_id in self.life.ids, WAL
            assert MOUNT in one.machine.files.mounted

    @invariant()
    def the_store_tells_of_one_formation(self) -> None:
        if KEY in self.life.records.objects:
            record = record_of(self.life.records)
            assert (record.generation, record.token) == (1, "token-g1")
            assert not self.life.stored or record.state == "established"

    @invariant()
    def never_more_members_than_named_and_one_learner(self) -> None:
        assert len(self.life.cluster.members) <= len(self.members)
        assert sum(m.learner for m in self.life.cluster.members) <= 1


class LivesOfFive(Lives):
    members = ("a", "b", "c", "d", "e")


class LivesOfOne(Lives):
    members = ("a",)


class LivesOfTwo(Lives):
    members = ("a", "b")


@pytest.mark.slow
@pytest.mark.parametrize("lives", [LivesOfOne, LivesOfTwo, Lives, LivesOfFive], ids=["one", "two", "three", "five"])
def test_in_any_order_of_events_there_is_one_cluster_and_nothing_stored_is_given_up(lives: type[Lives]) -> None:
    run_state_machine_as_test(lives, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))


@pytest.mark.parametrize("members", [("a", "b", "c"), ("a", "b", "c", "d", "e")], ids=["three", "five"])
def test_it_heals_from_the_loss_of_any_volume_one_after_the_other(members: tuple[str, ...]) -> None:
    life = Life(members)
    for _round in range(2):
        for name in members:
            life.boot(name)
    for name in members:
        life.stop(name)
        life.new_machine(name, f"vol-{name}-new")
        life.boot(name)
        life.boot(name)
        assert life.answer(name) == Answer(200, "")
        assert record_of(life.records).started == members
    assert sorted(m.name for m in life.cluster.members) == list(members)
    assert not any(m.learner for m in life.cluster.members)
