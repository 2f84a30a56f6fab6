"""Who is defragmented and when, what is done without space, and what is left to a person."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from units.etcd_care import (
    WASTE_BYTES,
    CaredAlarm,
    CaredMember,
    Compact,
    Defragment,
    Disarm,
    conditions,
    may_disarm,
    next_steps,
    no_quorum,
    room_conditions,
    successor,
)
from units.etcd_room import LOW_BYTES, MIB, Freed, VolumeRoom
from units.status import Condition

GIB = 1024**3
FREED = (Freed("2026-06-01T00:00:00Z", "its reserve", 256 * MIB),)
LEAN = CaredMember(1, "a", healthy=True, leader=False, learner=False, database_bytes=GIB, in_use_bytes=GIB)


def fat(member_id: int, name: str, *, leader: bool = False) -> CaredMember:
    return replace(LEAN, id=member_id, name=name, leader=leader, in_use_bytes=GIB // 3)


MEMBERS = st.lists(
    st.builds(
        CaredMember,
        id=st.integers(1, 9),
        name=st.sampled_from("abcde"),
        healthy=st.booleans(),
        leader=st.booleans(),
        learner=st.booleans(),
        database_bytes=st.integers(0, 2 * GIB),
        in_use_bytes=st.integers(0, 2 * GIB),
        raft_index=st.integers(0, 5),
    ),
    max_size=5,
    unique_by=lambda member: member.id,
)
ALARMS = st.lists(
    st.builds(CaredAlarm, member_id=st.integers(1, 9), kind=st.sampled_from(["NOSPACE", "CORRUPT"])), max_size=3
)


def test_a_member_is_defragmented_above_both_thresholds_only() -> None:
    assert next_steps([fat(1, "a")], [], 9) == (Defragment(1),)
    assert next_steps([LEAN], [], 9) == ()
    small = replace(LEAN, database_bytes=WASTE_BYTES, in_use_bytes=0)
    assert next_steps([small], [], 9) == ()
    large_but_used = replace(LEAN, database_bytes=8 * GIB, in_use_bytes=5 * GIB)
    assert next_steps([large_but_used], [], 9) == ()


def test_the_leader_comes_last() -> None:
    members = [fat(1, "a", leader=True), fat(2, "b"), fat(3, "c")]
    assert next_steps(members, [], 9) == (Defragment(2), Defragment(3), Defragment(1))


def test_nothing_is_defragmented_while_a_member_is_missing() -> None:
    assert next_steps([fat(1, "a"), replace(fat(2, "b"), healthy=False)], [], 9) == ()


def test_without_space_it_compacts_then_defragments_every_member_then_disarms() -> None:
    alarms = [CaredAlarm(1, "NOSPACE"), CaredAlarm(2, "NOSPACE")]
    members = [replace(LEAN, leader=True, healthy=False), replace(LEAN, id=2, name="b", healthy=False)]
    assert next_steps(members, alarms, 77) == (
        Compact(77),
        Defragment(2),
        Defragment(1),
        Disarm(alarms[0]),
        Disarm(alarms[1]),
    )


def test_a_member_that_is_away_keeps_the_others_from_nothing_when_there_is_no_space() -> None:
    """Else two of three would take no writes until the third came back."""
    alarm = CaredAlarm(1, "NOSPACE")
    away = replace(LEAN, id=2, name="b", healthy=False, answers=False, database_bytes=0)
    members = [replace(LEAN, leader=True, healthy=False), away, replace(LEAN, id=3, name="c", healthy=False)]
    assert next_steps(members, [alarm], 77) == (Compact(77), Defragment(3), Defragment(1), Disarm(alarm))
    assert may_disarm([away], GIB)


@given(MEMBERS, ALARMS, st.integers(0, 100))
def test_corrupt_is_never_cleared_and_stops_everything(
    members: list[CaredMember], alarms: list[CaredAlarm], revision: int
) -> None:
    steps = next_steps(members, alarms, revision)
    assert not [step for step in steps if isinstance(step, Disarm) and step.alarm.kind != "NOSPACE"]
    if any(alarm.kind == "CORRUPT" for alarm in alarms):
        assert steps == ()
        told = conditions("main", members, alarms, quota_bytes=GIB, since="now")
        assert told[0].code == "etcd-corrupt"
        assert "never disarm" in told[0].remedy


@given(MEMBERS, ALARMS, st.integers(0, 100))
def test_no_disarm_comes_before_a_defragmentation(
    members: list[CaredMember], alarms: list[CaredAlarm], revision: int
) -> None:
    kinds = [type(step).__name__ for step in next_steps(members, alarms, revision)]
    assert kinds == sorted(kinds, key=["Compact", "Defragment", "Disarm"].index)
    assert len(kinds) == len([k for k in kinds if k != "Compact"]) + kinds.count("Compact") <= len(members) + 4


def test_an_alarm_is_not_disarmed_while_the_database_is_as_large_as_the_quota() -> None:
    assert may_disarm([LEAN], 2 * GIB)
    assert not may_disarm([LEAN], GIB)


@given(MEMBERS, st.integers(1, 9))
def test_a_successor_is_healthy_votes_and_is_another(members: list[CaredMember], leaving: int) -> None:
    chosen = successor(members, leaving)
    able = [one for one in members if one.id != leaving and one.healthy and not one.learner]
    if chosen is None:
        assert not able
    else:
        assert chosen in {one.id for one in able}
        assert max(one.raft_index for one in able) == next(one.raft_index for one in able if one.id == chosen)


def test_no_space_is_told_with_the_quota() -> None:
    told = conditions("main", [LEAN], [CaredAlarm(1, "NOSPACE")], quota_bytes=2 * GIB, since="now")
    assert [one.code for one in told] == ["etcd-no-space"]
    assert "1024 MiB in use of a quota of 2048 MiB" in told[0].message


def test_a_silent_member_is_told_with_its_reason_and_what_is_left() -> None:
    silent = replace(LEAN, id=2, name="b", healthy=False, detail="Connection refused")
    told = conditions("main", [LEAN, silent, replace(LEAN, id=3, name="c")], [], quota_bytes=GIB, since="now")
    (one,) = told
    assert (one.code, one.severity) == ("etcd-member-unhealthy", "warning")
    assert "member b is not healthy: Connection refused (2 of 3 are, 2 decide)" in one.message
    learner = replace(silent, learner=True)
    assert conditions("main", [LEAN, learner], [], quota_bytes=GIB, since="now") == (), "one that catches up"


def test_a_lost_quorum_names_the_restore_and_a_full_disk_what_makes_room() -> None:
    assert "`coordinator etcd restore --etcd main --backup latest`" in no_quorum("main", "no leader", "now").remedy
    full = told_of(VolumeRoom(20 * GIB, LOW_BYTES - 1), FREED)
    assert (full.code, full.severity) == ("etcd-disk-full", "error")
    assert "/var/lib/etcd/main has 127 of 20480 MiB free; etcd needs 64 for its next piece of log" in full.message
    assert "gave up its reserve, 256 MiB, at 2026-06-01T00:00:00Z; nothing is left to give up" in full.message
    assert full.remedy.startswith("aws ec2 modify-volume --volume-id vol-1 --size GIB; the agent grows")
    assert "/var/lib/etcd/main/data.g*" in full.remedy
    assert "with the next poll" in told_of(VolumeRoom(20 * GIB, LOW_BYTES - 1, 256 * MIB)).message


def test_a_volume_without_its_reserve_is_told_unless_the_next_poll_makes_one() -> None:
    low = told_of(VolumeRoom(20 * GIB, GIB), FREED)
    assert (low.code, low.severity) == ("etcd-disk-low", "warning")
    assert "0 of 256 MiB in reserve; the agent gave up its reserve, 256 MiB" in low.message
    assert "made again with 2304 MiB free" in low.message
    small = told_of(VolumeRoom(370 * MIB, 300 * MIB))
    assert (small.code, small.severity) == ("etcd-no-reserve", "warning")
    for calm in (VolumeRoom(20 * GIB, GIB, 256 * MIB), VolumeRoom(20 * GIB, 15 * GIB)):
        assert room_conditions("main", "/m", calm, FREED, "vol-1", "now") == ()


def told_of(room: VolumeRoom, freed: tuple[Freed, ...] = ()) -> Condition:
    (one,) = room_conditions("main", "/var/lib/etcd/main", room, freed, "vol-1", "now")
    return one
