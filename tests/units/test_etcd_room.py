"""What a volume keeps in reserve for etcd, when it is given up and made again, and what is never deleted."""

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from units.etcd_room import (
    KEEP_ASIDE,
    LOW_BYTES,
    MIB,
    Delete,
    Freed,
    MakeReserve,
    Proven,
    SpendReserve,
    VolumeRoom,
    aside,
    decode_note,
    encode_note,
    leftovers,
    name_to_go,
    next_step,
    outlived,
    reserve_bytes,
    reserve_from,
)

GIB = 1024 * MIB
BEGAN = datetime(2026, 6, 1, tzinfo=UTC)
PROVEN = Proven(generation=3, began=BEGAN, backed_up=BEGAN + KEEP_ASIDE)
LATER = BEGAN + 2 * KEEP_ASIDE

OWN = {"data.g1", "data.g1.2", "data.g2", "data.g3", "restored.g2", "restored.g3.rough", "restored.g4", ".gone.data.g1"}
NAMES = st.frozensets(
    st.sampled_from(
        [*sorted(OWN), "data", "ballast", "lost+found", "data.g1.old", "xdata.g1", ".established", "data.gx"]
    )
)
ROOMS = st.builds(
    VolumeRoom,
    total_bytes=st.integers(1, 200 * GIB),
    free_bytes=st.integers(0, 200 * GIB) | st.integers(0, 2 * LOW_BYTES),
    reserve_bytes=st.sampled_from([0, 128 * MIB, 256 * MIB, 5 * MIB]),
    names=NAMES,
    data_generation=st.integers(0, 4),
)
MOMENTS = st.integers(0, 30 * 24).map(lambda hours: BEGAN + timedelta(hours=hours))


@pytest.mark.parametrize(("gib", "mib"), [(0.4, 0), (0.7, 0), (0.95, 128), (2, 128), (10, 204), (20, 256), (1000, 256)])
def test_the_reserve_is_two_pieces_of_log_at_least_and_a_fiftieth_of_a_large_volume(gib: float, mib: int) -> None:
    assert reserve_bytes(int(gib * GIB)) == mib * MIB


@given(ROOMS)
def test_a_reserve_that_is_made_leaves_so_much_that_it_is_not_given_up_again(room: VolumeRoom) -> None:
    step = next_step(room)
    if isinstance(step, MakeReserve):
        assert step.bytes == reserve_bytes(room.total_bytes) > room.reserve_bytes
        left = room.free_bytes - (step.bytes - room.reserve_bytes)
        assert left >= 2 * LOW_BYTES
        assert left * 10 >= room.total_bytes - 10
        made = replace(room, reserve_bytes=step.bytes, free_bytes=left)
        assert next_step(made) is None


@given(ROOMS)
def test_a_reserve_that_was_given_up_is_not_made_again_of_what_it_gave(room: VolumeRoom) -> None:
    if next_step(room) == SpendReserve():
        spent = replace(room, reserve_bytes=0, free_bytes=room.free_bytes + room.reserve_bytes)
        assert next_step(spent) is None or spent.free_bytes < LOW_BYTES


@given(ROOMS, NAMES)
def test_nothing_is_given_up_while_there_is_room_and_only_what_is_the_agents_own(
    room: VolumeRoom, old: Collection[str]
) -> None:
    old = tuple(sorted(set(old) & {"data.g1", "data.g1.2", "data.g2"}))
    step = next_step(room, lambda: old)
    if room.free_bytes >= LOW_BYTES:
        assert step is None or isinstance(step, MakeReserve)
    elif isinstance(step, Delete):
        assert step.name in room.names & OWN
        assert step.name in {*old, *leftovers(room)}
        assert name_to_go(step.name)
    else:
        assert not leftovers(room)
        assert not set(old) & room.names
        assert step == (SpendReserve() if room.reserve_bytes else None)


@given(ROOMS)
def test_giving_up_comes_to_an_end(room: VolumeRoom) -> None:
    for _step in range(20):
        match next_step(room, lambda: ("data.g1", "data.g1.2", "data.g2", "data.g3")):
            case Delete(name):
                room = replace(room, names=room.names - {name})
            case SpendReserve():
                room = replace(room, reserve_bytes=0)
            case MakeReserve(size):
                room = replace(room, reserve_bytes=size)
            case None:
                return
    raise AssertionError("it goes on for ever")


def test_the_bucket_is_asked_only_when_something_was_put_aside_and_room_is_short() -> None:
    def never() -> tuple[str, ...]:
        raise AssertionError("nobody is to be asked")

    short = VolumeRoom(20 * GIB, MIB, 256 * MIB, frozenset({"data", "ballast"}))
    assert next_step(short, never) == SpendReserve()
    assert next_step(replace(short, free_bytes=GIB, names=short.names | {"data.g1"}), never) is None


def test_leftovers_go_before_what_was_put_aside_and_that_before_the_reserve() -> None:
    names = frozenset({"data", "data.g1", "restored.g2.rough"})
    room = VolumeRoom(20 * GIB, MIB, 256 * MIB, names, data_generation=2)
    assert next_step(room, lambda: ("data.g1",)) == Delete("restored.g2.rough")
    room = replace(room, names=names - {"restored.g2.rough"})
    assert next_step(room, lambda: ("data.g1",)) == Delete("data.g1")
    assert next_step(room) == SpendReserve()
    assert next_step(replace(room, reserve_bytes=0)) is None


def test_a_restore_that_is_not_done_yet_keeps_what_it_has_fetched() -> None:
    room = VolumeRoom(20 * GIB, MIB, names=frozenset({"restored.g4", "restored.g3"}), data_generation=3)
    assert leftovers(room) == ("restored.g3",)


@given(NAMES, st.none() | st.builds(Proven, st.integers(1, 4), MOMENTS, MOMENTS), MOMENTS)
def test_what_was_put_aside_outlives_its_use_only_by_a_newer_proven_backup(
    names: Collection[str], proven: Proven | None, now: datetime
) -> None:
    old = outlived(names, proven, now)
    assert set(old) <= set(aside(names))
    assert tuple(sorted(old, key=aside(names).index)) == old, "the oldest first"
    if old:
        assert proven is not None
        assert proven.backed_up > proven.began
        assert all(int(name[6]) < proven.generation for name in old)
    last = aside(names)[-1:]
    if set(last) & set(old):
        assert proven is not None
        assert min(proven.backed_up, now) - proven.began >= KEEP_ASIDE


def test_the_last_one_put_aside_stays_a_week_and_older_ones_go_by_the_first_proven_backup() -> None:
    names = ["data", "data.g1", "data.g2"]
    assert outlived(names, PROVEN, LATER) == ("data.g1", "data.g2")
    fresh = replace(PROVEN, backed_up=BEGAN + timedelta(hours=1))
    assert outlived(names, fresh, LATER) == ("data.g1",)
    assert outlived(names, replace(PROVEN, backed_up=BEGAN), LATER) == ()
    assert outlived(names, None, LATER) == ()
    assert outlived(["data", "data.g3"], PROVEN, LATER) == (), "of the generation that runs"


def test_only_directories_of_the_agents_own_names_are_ever_deleted() -> None:
    for name in ("data", "ballast", "lost+found", "data.g1.old", "../data.g1", "data.g1/..", ".reserve", "data.g"):
        assert name_to_go(name) is None
    assert name_to_go("data.g1") == ".gone.data.g1"
    assert name_to_go(".gone.data.g1") == ".gone.data.g1"


def test_the_note_keeps_the_newest_and_takes_no_nonsense() -> None:
    freed = [Freed(f"2026-06-01T00:00:{number:02}Z", "its reserve", number * MIB) for number in range(20)]
    assert decode_note(encode_note(freed)) == tuple(freed[-8:])
    for odd in (None, b"", b"{}", b"[1]", b'[{"at": 1}]', b"\xff", b"null"):
        assert decode_note(odd) == ()


def test_from_when_on_the_reserve_is_made_again_is_told_in_bytes() -> None:
    room = VolumeRoom(20 * GIB, GIB, 0)
    assert reserve_from(room) == 256 * MIB + 2 * GIB
    assert next_step(replace(room, free_bytes=reserve_from(room))) == MakeReserve(256 * MIB)
    assert next_step(replace(room, free_bytes=reserve_from(room) - 1)) is None
