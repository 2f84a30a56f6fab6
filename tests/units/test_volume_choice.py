"""Which volume a machine takes."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from units.host import VolumeClaim
from units.volume_choice import Choice, parse_tag
from units.volumes import Attach, CandidateVolume, Refuse, Use, VolumeAttachment, Wait, choose

ME, ZONE = "i-me", "eu-west-1a"
CLAIM = VolumeClaim(cluster="alpha", etcd="main", members=("a", "b", "c"), candidates=("a",), minimum_bytes=1)
ANY = replace(CLAIM, candidates=("a", "b", "c"))


def volume(member: str, number: int = 0, **changes: object) -> CandidateVolume:
    fresh = CandidateVolume(f"vol-{member}{number}", ZONE, "available", f"{member}/a,b,c")
    return replace(fresh, **changes)


def held(member: str, by: str, state: str = "attached", instance_state: str | None = "running") -> CandidateVolume:
    return volume(member, state="in-use", attachments=(VolumeAttachment(by, state, instance_state),))


def choice(claim: VolumeClaim, *volumes: CandidateVolume) -> Choice:
    """The answer, which must not depend on the order in which EC2 lists volumes."""
    answers = {repr(choose(claim, order, ZONE, ME)) for order in itertools.permutations(volumes)}
    assert len(answers) == 1, answers
    return choose(claim, volumes, ZONE, ME)


def code(found: Choice, kind: type[Refuse | Wait]) -> str:
    assert isinstance(found, kind), found
    assert len(found.reason) > 10
    return found.code


def test_a_free_volume_of_the_groups_member_is_attached() -> None:
    assert choice(CLAIM, volume("a"), volume("b"), volume("c")) == Attach(volume("a"), "a")


def test_candidates_are_taken_in_the_order_of_the_claim() -> None:
    assert choice(ANY, volume("c"), volume("b"), volume("a")) == Attach(volume("a"), "a")
    assert choice(replace(ANY, candidates=("b", "a")), volume("a"), volume("b")) == Attach(volume("b"), "b")


def test_the_next_candidate_is_taken_when_the_first_is_held_by_a_running_machine() -> None:
    assert choice(ANY, held("a", "i-other"), volume("b"), volume("c")) == Attach(volume("b"), "b")


def test_what_is_attached_here_wins_over_everything_free() -> None:
    mine = held("b", ME)
    assert choice(ANY, volume("a"), mine, volume("c")) == Use(mine, "b")


def test_an_attachment_on_its_way_is_waited_for_and_not_taken_for_attached() -> None:
    for state in ("attaching", "detaching", "busy"):
        assert code(choice(ANY, held("a", ME, state)), Wait) == f"volume-{state}"


def test_an_attachment_that_ended_counts_no_more() -> None:
    free = volume("a", attachments=(VolumeAttachment(ME, "detached"),))
    assert choice(CLAIM, free) == Attach(free, "a")


def test_two_volumes_attached_here_are_refused_by_name() -> None:
    found = choice(ANY, held("a", ME), held("b", ME))
    assert code(found, Refuse) == "volume-several-attached"
    assert "vol-a0" in found.reason
    assert "vol-b0" in found.reason


def test_a_volume_attached_here_for_another_groups_member_is_refused() -> None:
    assert code(choice(CLAIM, held("b", ME)), Refuse) == "volume-of-another-group"


def test_several_volumes_of_one_member_are_refused_by_name_wherever_they_are() -> None:
    for other in (volume("a", 1), volume("a", 1, zone="eu-west-1b"), volume("a", 1, state="in-use")):
        found = choice(CLAIM, volume("a"), other)
        assert code(found, Refuse) == "volume-duplicate"
        assert "vol-a0" in found.reason
        assert "vol-a1" in found.reason


def test_a_deleted_volume_is_no_duplicate() -> None:
    assert choice(CLAIM, volume("a"), volume("a", 1, state="deleting"), volume("a", 2, state="deleted")) == Attach(
        volume("a"), "a"
    )


@pytest.mark.parametrize("tag", ["a/a", "a/a,b", "a/a,b,c,d", "a/a,b,d"])
def test_a_tag_that_disagrees_with_the_manifest_is_refused_with_both_sides(tag: str) -> None:
    for wrong in (volume("a", tag=tag), replace(held("a", ME), tag=tag)):
        found = choice(CLAIM, wrong)
        assert code(found, Refuse) == "volume-tag-mismatch"
        assert repr(tag) in found.reason
        assert "MEMBER/a,b,c" in found.reason


@pytest.mark.parametrize("tag", ["", "a", "/", "a/", "/a,b,c", "a/b,c", "a/a,,b", "a/a,a", "a/b/a,b,c"])
def test_a_tag_that_cannot_be_read_is_refused_unless_a_good_one_is_there(tag: str) -> None:
    assert code(choice(CLAIM, volume("x", tag=tag)), Refuse) == "volume-tag-mismatch"
    assert choice(CLAIM, volume("x", tag=tag), volume("a")) == Attach(volume("a"), "a")


def test_the_order_of_members_in_the_tag_is_a_matter_of_taste() -> None:
    assert isinstance(choice(CLAIM, volume("a", tag="a/c,b,a")), Attach)


def test_a_volume_in_another_zone_is_refused_with_both_zones() -> None:
    found = choice(CLAIM, volume("a", zone="eu-west-1b"))
    assert code(found, Refuse) == "volume-wrong-zone"
    assert "eu-west-1b" in found.reason
    assert ZONE in found.reason


def test_volumes_of_other_zones_are_other_machines_business() -> None:
    far = volume("a", zone="eu-west-1b"), volume("c", zone="eu-west-1c")
    assert choice(ANY, *far, volume("b")) == Attach(volume("b"), "b")
    assert code(choice(ANY, *far, held("b", "i-other")), Wait) == "volume-held"


def test_a_volume_that_locks_nothing_is_refused() -> None:
    for shared in (volume("a"), held("a", ME)):
        assert code(choice(CLAIM, replace(shared, multi_attach=True)), Refuse) == "volume-multi-attach"


def test_a_failed_volume_is_refused() -> None:
    assert code(choice(CLAIM, volume("a", state="error")), Refuse) == "volume-error"


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (volume("a", state="creating"), "volume-creating"),
        (volume("a", state="in-use"), "volume-unsettled"),
        (held("a", "i-other"), "volume-held"),
        (held("a", "i-other", instance_state="pending"), "volume-held"),
        (held("a", "i-other", instance_state="stopping"), "volume-held"),
        (held("a", "i-other", instance_state="stopped"), "volume-holder-stopped"),
        (held("a", "i-other", instance_state="shutting-down"), "volume-holder-ending"),
        (held("a", "i-other", instance_state="terminated"), "volume-holder-ending"),
        (held("a", "i-other", instance_state=None), "volume-holder-ending"),
        (held("a", "i-other", "detaching"), "volume-detaching"),
        (held("a", "i-other", "busy"), "volume-busy"),
        (held("a", "i-other", "attaching"), "volume-held"),
    ],
)
def test_each_wait_names_the_volume_and_its_reason(candidate: CandidateVolume, expected: str) -> None:
    found = choice(CLAIM, candidate)
    assert code(found, Wait) == expected
    assert "vol-a0" in found.reason
    assert not candidate.attachments or "i-other" in found.reason


def test_no_volume_at_all_is_a_wait_that_says_which_tag_is_missing() -> None:
    found = choice(CLAIM, volume("b"))
    assert code(found, Wait) == "volume-missing"
    assert "k8s.io/etcd/main = a/a,b,c" in found.reason


def test_what_a_person_must_mend_is_said_before_waiting() -> None:
    assert code(choice(ANY, volume("a"), volume("a", 1), held("b", "i-other")), Refuse) == "volume-duplicate"
    assert choice(ANY, volume("a"), volume("a", 1), volume("b")) == Attach(volume("b"), "b")


def test_a_group_without_members_is_refused() -> None:
    assert code(choice(replace(CLAIM, candidates=()), volume("a")), Refuse) == "etcd-no-member"


def test_a_tag_has_a_member_and_all_members() -> None:
    assert parse_tag("b/a,b,c") == ("b", ("a", "b", "c"))


states = st.sampled_from(["creating", "available", "in-use", "deleting", "deleted", "error", "invented"])
attachments = st.builds(
    VolumeAttachment,
    st.sampled_from([ME, "i-1", "i-2"]),
    st.sampled_from(["attaching", "attached", "detaching", "detached", "busy"]),
    st.sampled_from([None, "running", "stopped", "terminated"]),
)
volumes = st.builds(
    CandidateVolume,
    st.sampled_from([f"vol-{number}" for number in range(6)]),
    st.sampled_from([ZONE, "eu-west-1b"]),
    states,
    st.sampled_from(["a/a,b,c", "b/a,b,c", "c/a,b,c", "a/a", "rubbish", ""]),
    st.lists(attachments, max_size=2).map(tuple),
    st.booleans(),
)


@given(st.lists(volumes, max_size=5, unique_by=lambda found: found.volume_id), st.randoms())
def test_nothing_is_attached_that_is_not_free_here_and_unambiguous(
    found: list[CandidateVolume], chance: object
) -> None:
    answer = choose(ANY, found, ZONE, ME)
    shuffled = list(found)
    chance.shuffle(shuffled)
    assert choose(ANY, shuffled, ZONE, ME) == answer
    if isinstance(answer, Attach):
        chosen = answer.volume
        assert (chosen.state, chosen.zone, chosen.multi_attach) == ("available", ZONE, False)
        assert all(attachment.state == "detached" for attachment in chosen.attachments)
        assert [other for other in found if other.tag == chosen.tag and not other.state.startswith("delet")] == [chosen]
    if isinstance(answer, Use):
        assert not answer.volume.multi_attach
        assert (ME, "attached") in [(held_by.instance_id, held_by.state) for held_by in answer.volume.attachments]
