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


def decision(record: BootstrapRecord, members: tuple[str, ...]) -> InitialState | str:
    try:
        return initial_state(record, etcd="main", member="a", members=members, volume_id="vol-a")
    except Refused as refused:
        return refused.code


TABLE = [
    ("bootstrapping", {}, (), ONE, "new"),
    ("bootstrapping", {"a": "vol-a"}, (), ONE, "new"),
    ("bootstrapping", {"b": "vol-b"}, (), THREE, "new"),
    ("bootstrapping", {"a": "vol-x"}, (), THREE, "etcd-volume-changed"),
    ("established", {"a": "vol-a"}, ("a",), ONE, "etcd-volume-lost"),
    ("established", {"a": "vol-a"}, (), ONE, "etcd-volume-lost"),
    ("established", {}, (), ONE, "etcd-volume-lost"),
    ("established", {"a": "vol-a", "b": "vol-b"}, ("b",), THREE, "existing"),
    ("established", {"b": "vol-b"}, ("b",), THREE, "existing"),
    ("established", {"a": "vol-x", "b": "vol-b"}, ("b",), THREE, "etcd-volume-lost"),
    ("established", {"a": "vol-a", "b": "vol-b"}, ("a", "b"), THREE, "etcd-volume-lost"),
]


@pytest.mark.parametrize(("state", "volumes", "started", "members", "expected"), TABLE)
def test_how_a_member_without_data_may_start(
    state: str, volumes: dict[str, str], started: tuple[str, ...], members: tuple[str, ...], expected: str
) -> None:
    assert decision(recorded(state, volumes, started), members) == expected


@given(st.dictionaries(st.sampled_from(THREE), st.sampled_from(["vol-a", "vol-x"])), st.sets(st.sampled_from(THREE)))
def test_new_is_never_granted_under_an_established_record(volumes: dict[str, str], started: set[str]) -> None:
    record = recorded("established", volumes, tuple(sorted(started)))
    assert decision(record, THREE) != "new"
    assert decision(record, ONE) != "new"


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
