"""The next step of a lost member, over generated states: what may never be chosen, whatever the state is."""

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.units.etcd_cluster_double import url
from tests.units.test_bootstrap_record import recorded
from units.bootstrap_record import BootstrapRecord, initial_state
from units.errors import Refused
from units.etcd_members import ClusterView, Member, quorum
from units.etcd_replacement import (
    AddLearner,
    Lost,
    RecordVolume,
    Remove,
    StartExisting,
    Step,
    WaitForPerson,
    may_replace,
    next_step,
)
from units.volume_choice import Refuse, Wait

FIVE = ("a", "b", "c", "d", "e")
STATES = ("bootstrapping", "restoring", "established")


def lost(members: tuple[str, ...] = FIVE[:3], member: str = "b", volume: str = "vol-new") -> Lost:
    return Lost("main", member, volume, {name: url(name) for name in members})


@st.composite
def records(draw: st.DrawFn, members: tuple[str, ...]) -> BootstrapRecord:
    volumes = {name: draw(st.sampled_from([f"vol-{name}", "vol-new"])) for name in members if draw(st.booleans())}
    started = tuple(name for name in members if draw(st.booleans()))
    record = recorded(draw(st.sampled_from(STATES)), volumes, started)
    return record.model_copy(update={"replacing": draw(st.sampled_from([None, *members]))})


@st.composite
def views(draw: st.DrawFn, members: tuple[str, ...]) -> ClusterView:
    """Any member list, with strangers, learners, members that never started, and some missing."""
    names = [name for name in (*members, "stranger") if draw(st.integers(0, 5)) > 0 or name == "a"]
    if draw(st.integers(0, 3)) > 0 and "stranger" in names:
        names.remove("stranger")
    found = []
    for number, name in enumerate(names):
        learner = draw(st.integers(0, 4)) == 0
        started = draw(st.integers(0, 4)) > 0
        healthy = started and draw(st.integers(0, 2)) > 0
        found.append(Member(number, name if started else "", (url(name),), learner=learner, healthy=healthy))
    return ClusterView(1, tuple(found))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Lost, BootstrapRecord, ClusterView]:
    members = FIVE[: draw(st.sampled_from([1, 2, 3, 5]))]
    return lost(members, draw(st.sampled_from(members))), draw(records(members)), draw(views(members))


def after(view: ClusterView, step: Step) -> ClusterView:
    if isinstance(step, Remove):
        return replace(view, members=tuple(member for member in view.members if member.id != step.member_id))
    return view


def healthy_voters(view: ClusterView) -> int:
    return sum(member.healthy for member in view.voters)


@settings(max_examples=2000)
@given(cases())
def test_no_removal_loses_the_quorum_or_takes_a_member_that_lives_or_is_another(
    case: tuple[Lost, BootstrapRecord, ClusterView],
) -> None:
    one, record, view = case
    step = next_step(one, record, view)
    if isinstance(step, Remove):
        (gone,) = [member for member in view.members if member.id == step.member_id]
        left = after(view, step)
        assert one.peer_url in gone.peer_urls
        assert not gone.healthy
        assert healthy_voters(left) >= quorum(len(left.voters))
        assert (record.replacing, record.volumes[one.member]) == (one.member, one.volume_id)
        assert one.member not in record.started or one.volume_id != record.volumes[one.member]


@settings(max_examples=2000)
@given(cases())
def test_nothing_is_changed_without_a_majority_an_established_record_and_three_members(
    case: tuple[Lost, BootstrapRecord, ClusterView],
) -> None:
    one, record, view = case
    step = next_step(one, record, view)
    if not isinstance(step, Wait | WaitForPerson | Refuse):
        assert view.has_quorum
        assert record.state == "established"
        assert len(one.peer_urls) >= 3
        assert record.replacing in (None, one.member)
        assert {peer for member in view.members for peer in member.peer_urls} <= set(one.peer_urls.values())
        assert [member for member in view.learners if one.peer_url not in member.peer_urls] == []
    else:
        assert step.code
        assert step.reason


@settings(max_examples=1000)
@given(cases())
def test_a_member_is_added_or_started_only_where_nobody_of_its_url_ever_started(
    case: tuple[Lost, BootstrapRecord, ClusterView],
) -> None:
    one, record, view = case
    step = next_step(one, record, view)
    mine = view.at(one.peer_url)
    if isinstance(step, AddLearner):
        assert mine is None
    if isinstance(step, StartExisting):
        assert mine is not None
        assert mine.learner
        assert not mine.started


@settings(max_examples=1000)
@given(cases())
def test_steps_lead_to_the_start_and_two_lost_members_never_both_act(
    case: tuple[Lost, BootstrapRecord, ClusterView],
) -> None:
    one, record, view = case
    for _step in range(5):
        step = next_step(one, record, view)
        for other in one.peer_urls:
            if other != one.member and not isinstance(step, Wait | WaitForPerson | Refuse | RecordVolume):
                second = next_step(replace(one, member=other), record, view)
                assert isinstance(second, Wait | WaitForPerson | Refuse), (step, second)
        if isinstance(step, StartExisting | Wait | WaitForPerson | Refuse):
            return
        if isinstance(step, RecordVolume):
            record = step.record
        if isinstance(step, AddLearner):
            view = replace(view, members=(*view.members, Member(99, "", (step.peer_url,), learner=True)))
        view = after(view, step)
    pytest.fail("five steps and no end")


@given(st.data(), st.sampled_from([1, 2, 3, 5]))
def test_never_can_two_actions_both_form_a_new_cluster(data: st.DataObject, count: int) -> None:
    """Under one record: who is granted `new` takes part in the one formation that it names, and nobody is replaced."""
    members = FIVE[:count]
    record, view = data.draw(records(members)), data.draw(views(members))
    granted: dict[str, str] = {}
    for member in members:
        volume = data.draw(st.sampled_from([f"vol-{member}", "vol-new"]))
        attempted = data.draw(st.booleans())
        try:
            granted[member] = initial_state(
                record, etcd="main", member=member, members=members, volume_id=volume, attempted=attempted
            )
        except Refused:
            continue
        if granted[member] == "rejoin":
            step = next_step(lost(members, member, volume), record, view)
            assert record.state == "established"
            assert not (isinstance(step, StartExisting) and "new" in granted.values())
        if granted[member] == "new":
            assert record.state == "bootstrapping"
            assert record.volumes.get(member, volume) == volume
    # All or nobody: a member that may begin anew and one that joins what exists are never of one record.
    assert not {"new", "rejoin"} <= set(granted.values())
    assert not {"new", "existing"} <= set(granted.values())


@pytest.mark.parametrize("count", [1, 2])
def test_one_and_two_members_wait_for_a_person_whatever_the_cluster_says(count: int) -> None:
    members = FIVE[:count]
    record = recorded("established", {name: f"vol-{name}" for name in members}, members)
    refusal = may_replace(lost(members, "a"), record)
    assert refusal is not None
    assert refusal.code == "etcd-volume-lost"
    assert "coordinator etcd restore --etcd main --backup latest" in refusal.remedy
    assert "vol-a" in refusal.reason


@pytest.mark.parametrize("count", [3, 5])
def test_any_minority_that_is_down_is_survived_and_any_majority_is_not(count: int) -> None:
    members = FIVE[:count]
    record = recorded("established", {name: f"vol-{name}" for name in members}, members)
    record = record.with_replacement("b", "vol-new")
    for size in range(1, count + 1):
        for down in combinations(members, size):
            if "b" not in down:
                continue
            listed = [Member(n, name, (url(name),), healthy=name not in down) for n, name in enumerate(members)]
            step = next_step(lost(members), record, ClusterView(1, tuple(listed)))
            assert isinstance(step, Remove if count - size >= quorum(count) else Wait), down
