"""The decision how a member without data may start, as a table; and the record that it is made from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.units.etcd_member import KEY, ONE, THREE
from units.bootstrap_record import BootstrapRecord, InitialState, decode_record, initial_state
from units.errors import Refused


def recorded(state: str, volumes: dict[str, str], started: tuple[str, ...] = ()) -> BootstrapRecord:
    return BootstrapRecord.model_validate(
        {"state": state, "generation": 1, "token": "t", "volumes": volumes, "started": started, "created_by": "i"}
    )


def decision(record: BootstrapRecord, members: tuple[str, ...], *, attempted: bool = False) -> InitialState | str:
    try:
        return initial_state(record, etcd="main", member="a", members=members, volume_id="vol-a", attempted=attempted)
    except Refused as refused:
        return refused.code


TABLE = [
    ("bootstrapping", {}, (), ONE, "new"),
    ("bootstrapping", {"a": "vol-a"}, (), ONE, "new"),
    ("bootstrapping", {"b": "vol-b"}, (), THREE, "new"),
    ("bootstrapping", {"a": "vol-x"}, (), THREE, "etcd-volume-changed"),
    ("established", {"a": "vol-a"}, ("a",), ONE, "rejoin"),
    ("established", {"a": "vol-a"}, (), ONE, "rejoin"),
    ("established", {}, (), ONE, "rejoin"),
    ("established", {"a": "vol-a", "b": "vol-b"}, ("b",), THREE, "rejoin"),
    ("established", {"b": "vol-b"}, ("b",), THREE, "existing"),
    ("established", {"a": "vol-x", "b": "vol-b"}, ("b",), THREE, "rejoin"),
    ("established", {"a": "vol-a", "b": "vol-b"}, ("a", "b"), THREE, "rejoin"),
]


@pytest.mark.parametrize(("state", "volumes", "started", "members", "expected"), TABLE)
def test_how_a_member_without_data_may_start(
    state: str, volumes: dict[str, str], started: tuple[str, ...], members: tuple[str, ...], expected: str
) -> None:
    assert decision(recorded(state, volumes, started), members) == expected


def test_what_was_started_on_this_volume_and_left_no_log_may_have_voted_and_comes_back_as_somebody_else() -> None:
    # Its old self acknowledged what it no longer knows: with its old id it could elect a leader without that.
    record = recorded("established", {"b": "vol-b"}, ("b",))
    assert decision(record, THREE) == "existing"
    assert decision(record, THREE, attempted=True) == "rejoin"
    assert decision(recorded("bootstrapping", {"a": "vol-a"}), THREE, attempted=True) == "new"


def test_one_member_at_a_time_begins_anew_until_it_is_ready() -> None:
    record = recorded("established", {"a": "vol-a", "b": "vol-b"}, ("a", "b")).with_replacement("a", "vol-new")
    assert (record.volumes["a"], record.started, record.replacing) == ("vol-new", ("b",), "a")
    assert record.with_started("b").replacing == "a"
    ready = record.with_started("a")
    assert (ready.started, ready.replacing, ready.state) == (("a", "b"), None, "established")


@given(st.dictionaries(st.sampled_from(THREE), st.sampled_from(["vol-a", "vol-x"])), st.sets(st.sampled_from(THREE)))
def test_new_is_never_granted_under_an_established_record(volumes: dict[str, str], started: set[str]) -> None:
    record = recorded("established", volumes, tuple(sorted(started)))
    for attempted in (False, True):
        assert decision(record, THREE, attempted=attempted) != "new"
        assert decision(record, ONE, attempted=attempted) == "rejoin"


def test_established_is_never_taken_back() -> None:
    record = recorded("bootstrapping", {}).with_started("a")
    assert record.state == "established"
    assert record.with_volume("b", "vol-b").state == "established"
    assert record.with_started("b").started == ("a", "b")


def test_a_record_reads_back_as_it_was_written() -> None:
    record = recorded("established", {"a": "vol-a"}, ("a",))
    assert decode_record(record.encode(), KEY) == record
    assert record.encode() == backwards(record).encode()


def backwards(record: BootstrapRecord) -> BootstrapRecord:
    return BootstrapRecord.model_validate(dict(reversed(record.model_dump().items())))
