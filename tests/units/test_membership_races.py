"""Three members and one record: whoever is overtaken by whom, all are listed, and `new` ends with `established`."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.units.etcd_member import KEY, THREE, Member, has_log, member, record_of
from tests.units.test_bootstrap_record import recorded
from units.errors import Retryable
from units.host import Record
from units.memory import MemoryRecords


@dataclass
class RacedRecords:
    """S3 as one member sees it: before each of its conditional writes, others may have theirs."""

    shared: MemoryRecords
    others: Iterator[None]

    def get(self, key: str) -> Record | None:
        return self.shared.get(key)

    def create(self, key: str, content: bytes) -> bool:
        next(self.others, None)
        return self.shared.create(key, content)

    def replace(self, key: str, content: bytes, etag: str) -> bool:
        next(self.others, None)
        return self.shared.replace(key, content, etag)


def joining(others: list[Member]) -> Iterator[None]:
    for other in others:
        other.decide()
        yield


@pytest.mark.parametrize("order", list(itertools.permutations(THREE)), ids="".join)
@pytest.mark.parametrize("nested", [1, 2])
def test_members_that_race_for_the_record_are_all_listed(order: tuple[str, ...], nested: int) -> None:
    """Each loses its compare-and-swap to the next one: the first is overtaken by one, or by both."""
    shared = MemoryRecords()
    first, *rest = [member(name, THREE, shared) for name in order]
    first.machine.records = RacedRecords(shared, joining(rest[:nested]))  # type: ignore[assignment]
    assert first.decide() == "new"
    for late in rest[nested:]:
        late.decide()
    assert record_of(shared).volumes == {"a": "vol-a", "b": "vol-b", "c": "vol-c"}


STEPS = ("decide", "start", "establish")


@settings(max_examples=300)
@given(st.permutations([name for name in THREE for _step in STEPS]))
def test_in_every_interleaving_new_is_granted_only_before_the_record_is_established(schedule: list[str]) -> None:
    """Each member's three steps in every order among the members; a quorum of two makes etcd ready."""
    shared = MemoryRecords()
    members = {name: member(name, THREE, shared) for name in THREE}
    done: dict[str, int] = dict.fromkeys(THREE, 0)
    for name in schedule:
        one, step = members[name], STEPS[done[name]]
        done[name] += 1
        if step == "decide":
            before = record_of(shared).state if KEY in shared.objects else "bootstrapping"
            assert one.decide() == ("new" if before == "bootstrapping" else "existing")
        elif step == "start":
            one.start_etcd()
        elif sum(has_log(each) for each in members.values()) >= 2:
            one.establish()
    for one in members.values():  # the next run of each: by now every etcd is up
        one.decide()
        one.establish()
        assert one.granted == "existing"
    assert record_of(shared).started == THREE
    assert record_of(shared).volumes == {"a": "vol-a", "b": "vol-b", "c": "vol-c"}


def test_a_record_that_never_holds_still_is_tried_a_bounded_number_of_times() -> None:
    only = member()
    only.machine.records = replace_nothing()  # type: ignore[assignment]
    with pytest.raises(Retryable) as later:
        only.bootstrap.apply(only.machine.host)
    assert later.value.code == "etcd-record-contended"
    with pytest.raises(Retryable) as later:
        only.establish()
    assert later.value.code == "etcd-record-contended"


def replace_nothing() -> MemoryRecords:
    records = MemoryRecords()
    records.objects[KEY] = Record(recorded("bootstrapping", {"b": "vol-b"}).encode(), "etag")
    records.replace = lambda _key, _content, _etag: False  # type: ignore[method-assign]
    return records
