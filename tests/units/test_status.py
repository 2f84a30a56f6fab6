"""A node's status: written by one version, read by another, and by a coordinator that trusts no node."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from units.errors import Invalid
from units.status import MAX_BYTES, STAGE_OF_EXIT, Condition, NodeStatus, decode_status, encode_status

STATUS = NodeStatus(
    instance_id="i-1",
    stage="refused",
    conditions=(Condition(code="etcd-volume-lost", message="gone", since="2026-11-23T00:00:00Z"),),
    metadata={"root": 2},
)


def test_what_was_written_reads_back() -> None:
    assert decode_status(encode_status(STATUS)) == STATUS


def test_fields_of_a_newer_agent_are_left_aside() -> None:
    document = {**json.loads(encode_status(STATUS)), "tomorrow": {"more": 1}}
    assert decode_status(json.dumps(document).encode()) == STATUS


def test_an_oversized_object_is_not_even_parsed() -> None:
    with pytest.raises(Invalid) as invalid:
        decode_status(b" " * (MAX_BYTES + 1))
    assert invalid.value.code == "status-too-large"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"instance_id": "i", "stage": "happy"}', b"\xff", b"[" * 99_999])
def test_what_is_no_status_is_invalid(data: bytes) -> None:
    with pytest.raises(Invalid) as invalid:
        decode_status(data)
    assert invalid.value.code == "status-invalid"


@given(st.binary(max_size=200))
def test_of_any_bytes_only_our_error_comes_out(data: bytes) -> None:
    try:
        decode_status(data)
    except Invalid as invalid:
        assert invalid.problems  # noqa: PT017 (either outcome is right; another exception is not)


def test_every_exit_code_has_its_stage() -> None:
    assert STAGE_OF_EXIT == {0: "ready", 1: "failed", 2: "failed", 3: "refused", 4: "retrying"}
