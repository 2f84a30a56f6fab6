"""Restores begun at any moment of the members' runs: nobody speaks in the name of a generation it is not of.

The machines run the real resources, step by step and in any order; etcd is a model: a member is ready while a majority
runs on data of its generation, and each generation's cluster has one key under /bootwright/cluster.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.units.etcd_member import KEY, MOUNT, THREE, Member, member, record_of
from tests.units.test_etcd_restore import BACKUP, generation_of, restore_of
from units.bootstrap_record import BootstrapRecord
from units.errors import Refused, Retryable
from units.etcd_on_volume import on_volume
from units.etcd_restore import DATA
from units.host import Answer
from units.memory import MemoryRecords
from units.memory_etcd import MemoryEtcdStorage

STEPS = 4  # restore, decide, generation, established


@dataclass
class ClusterStorage(MemoryEtcdStorage):
    """The key is the cluster's: of all members whose data is of one generation."""

    life: "Restores"
    name: str

    def generation_key(self, etcd: str, client_urls: tuple[str, ...]) -> str | None:
        if not self.life.is_ready(self.name):
            raise Retryable("etcd-no-quorum", "no leader")
        return self.life.keys.get(self.life.generation(self.name))

    def write_generation_key(self, etcd: str, client_urls: tuple[str, ...], before: str | None, token: str) -> bool:
        if self.generation_key(etcd, client_urls) != before:
            return False
        self.life.keys[self.life.generation(self.name)] = token
        return True


@dataclass
class Restores:
    records: MemoryRecords = field(default_factory=MemoryRecords)
    machines: dict[str, Member] = field(default_factory=dict)
    keys: dict[int, str] = field(default_factory=dict)  # generation -> what its cluster holds
    refusals: list[str] = field(default_factory=list)
    at: dict[str, int] = field(default_factory=lambda: dict.fromkeys(THREE, 0))  # which step of its run comes next

    def __post_init__(self) -> None:
        for name in THREE:
            one = self.machines[name] = member(name, THREE, self.records)
            one.decide()
            one.start_etcd()
            one.machine.files.make_directory(f"{MOUNT}/{DATA}", mode=0o700, owner="etcd", group="etcd")
            one.machine.etcd_storage = ClusterStorage(one.machine.files, self, name)
            one.machine.probes.get = lambda url, name=name: self._answer(name, url)  # type: ignore[method-assign]
        for name in THREE:
            self.run(name)
        assert record_of(self.records).started == THREE

    def _answer(self, name: str, url: str) -> Answer | None:
        return Answer(200, "") if "readyz" in url and self.is_ready(name) else None

    def generation(self, name: str) -> int:
        return on_volume(self.machines[name].machine.host, MOUNT).generation

    def is_ready(self, name: str) -> bool:
        alike = [other for other in THREE if self.generation(other) == self.generation(name)]
        return len(alike) >= 2

    def begin(self) -> None:
        """What `coordinator etcd restore` does."""
        old = record_of(self.records)
        new = BootstrapRecord(
            state="restoring",
            generation=old.generation + 1,
            token=f"token-g{old.generation + 1}",
            volumes={},
            created_by="operator",
            restore=BACKUP,
        )
        self.records.objects.pop(KEY)
        assert self.records.create(KEY, new.encode())

    def step(self, name: str) -> None:
        """The next one of this machine's run, which ends with the first that fails, and then begins anew."""
        one, number = self.machines[name], self.at[name]
        resource = (restore_of(one), one.bootstrap, generation_of(one), one.established)[number]
        self.at[name] = 0
        try:
            if resource.check(one.machine.host):
                resource.apply(one.machine.host)
            self.at[name] = (number + 1) % STEPS
        except Retryable:
            return
        except Refused as error:
            self.refusals.append(f"{name}: {error}")

    def run(self, name: str) -> None:
        """A whole one, after a power cut."""
        self.at[name] = 0
        self.step(name)
        while self.at[name]:
            self.step(name)


class Interleavings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.life = Restores()

    @rule(name=st.sampled_from(THREE))
    def one_step(self, name: str) -> None:
        self.life.step(name)

    @rule(name=st.sampled_from(THREE))
    def a_run(self, name: str) -> None:
        self.life.run(name)

    @rule()
    def the_operator_restores(self) -> None:
        if record_of(self.life.records).generation < 5:
            self.life.begin()

    @invariant()
    def who_is_called_started_holds_data_of_that_generation(self) -> None:
        record = record_of(self.life.records)
        for name in record.started:
            assert self.life.generation(name) == record.generation
        assert record.state != "established" or record.started

    @invariant()
    def a_cluster_holds_the_token_of_its_own_generation(self) -> None:
        assert all(token == f"token-g{generation}" for generation, token in self.life.keys.items())

    @invariant()
    def nobody_is_refused(self) -> None:
        assert self.life.refusals == []

    def teardown(self) -> None:
        """Left alone, all come to the last generation."""
        for _round in range(4):
            for name in THREE:
                self.life.run(name)
        record = record_of(self.life.records)
        assert (record.state, record.started) == ("established", THREE)
        assert {self.life.generation(name) for name in THREE} == {record.generation}
        assert record.volumes == {name: f"vol-{name}" for name in THREE}


SETTINGS = settings(max_examples=40, stateful_step_count=25, deadline=None, phases=[Phase.explicit, Phase.generate])


@pytest.mark.slow
def test_in_any_order_of_steps_and_restores_the_last_generation_stands_and_no_other_speaks_for_it() -> None:
    run_state_machine_as_test(Interleavings, settings=SETTINGS)
