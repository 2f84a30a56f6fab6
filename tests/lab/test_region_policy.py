"""The lab's IAM evaluator against the rules of the IAM user guide: what it gets wrong, every test of policies does."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.lab.region.policy import Permission, is_allowed

Value = str | tuple[str, ...]


def allows(condition: Mapping[str, Any], **known: Value) -> bool:
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": condition}
    return is_allowed([statement], Permission("s3:GetObject", "arn:aws:s3:::b/k", _keys(known)))


def denies(condition: Mapping[str, Any], **known: Value) -> bool:
    allow = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}
    return not is_allowed([allow, deny], Permission("s3:GetObject", "arn:aws:s3:::b/k", _keys(known)))


def _keys(known: Mapping[str, Value]) -> dict[str, Value]:
    return {name.replace("_", ":"): value for name, value in known.items()}


@pytest.mark.parametrize(
    ("condition", "known", "expected"),
    [
        ({"StringEquals": {"aws:a": "x"}}, {"aws_a": "x"}, True),
        ({"StringEquals": {"aws:a": ["y", "x"]}}, {"aws_a": "x"}, True),
        ({"StringEquals": {"AWS:A": "x"}}, {"aws_a": "x"}, True),  # names of keys have no case
        ({"StringEquals": {"aws:a": "X"}}, {"aws_a": "x"}, False),  # values have
        ({"StringEquals": {"aws:a": "x*"}}, {"aws_a": "xy"}, False),
        ({"StringEquals": {"aws:a": "x"}}, {}, False),
        ({"StringEqualsIgnoreCase": {"aws:a": "X"}}, {"aws_a": "x"}, True),
        ({"StringEqualsIfExists": {"aws:a": "x"}}, {}, True),
        ({"StringEqualsIfExists": {"aws:a": "x"}}, {"aws_a": "y"}, False),
        ({"StringNotEquals": {"aws:a": "x"}}, {}, True),  # a missing key is not equal
        ({"StringNotEquals": {"aws:a": ["x", "y"]}}, {"aws_a": "x"}, False),
        ({"StringLike": {"aws:a": "c/*/x?"}}, {"aws_a": "c/a/b/x1"}, True),
        ({"StringLike": {"aws:a": "c/*"}}, {"aws_a": "d/c/"}, False),
        ({"StringNotLike": {"aws:a": "c/*"}}, {"aws_a": "d"}, True),
        ({"ArnLike": {"aws:a": "arn:aws:ec2:*:1:instance/*"}}, {"aws_a": "arn:aws:ec2:eu:1:instance/i-1"}, True),
        ({"ArnLike": {"aws:a": "arn:aws:ec2:*:instance/*"}}, {"aws_a": "arn:aws:ec2:eu:1:instance/i-1"}, False),
        ({"Bool": {"aws:a": "true"}}, {"aws_a": "true"}, True),
        ({"Bool": {"aws:a": "false"}}, {}, False),
        ({"BoolIfExists": {"aws:a": "false"}}, {}, True),
        ({"Null": {"aws:a": "true"}}, {}, True),
        ({"Null": {"aws:a": "true"}}, {"aws_a": "x"}, False),
        ({"Null": {"aws:a": "false"}}, {"aws_a": "x"}, True),
        ({"Null": {"aws:a": "true", "aws:b": "true"}}, {"aws_b": "x"}, False),  # all keys must hold
        ({"ForAllValues:StringEquals": {"aws:a": ["x", "y"]}}, {"aws_a": ("x",)}, True),
        ({"ForAllValues:StringEquals": {"aws:a": ["x", "y"]}}, {"aws_a": ("x", "z")}, False),
        ({"ForAllValues:StringEquals": {"aws:a": ["x"]}}, {}, True),  # hence a Null beside it
        ({"ForAnyValue:StringEquals": {"aws:a": ["x"]}}, {"aws_a": ("z", "x")}, True),
        ({"ForAnyValue:StringEquals": {"aws:a": ["x"]}}, {}, False),
        ({"StringEquals": {"aws:a": "x"}, "Null": {"aws:b": "true"}}, {"aws_a": "x", "aws_b": "y"}, False),
        ({"StringEquals": {"aws:a": "${aws:b}"}}, {"aws_a": "x", "aws_b": "x"}, True),
        ({"StringEquals": {"aws:a": "${aws:b}"}}, {"aws_a": "x"}, False),
        ({"StringNotEquals": {"aws:a": "${aws:b}"}}, {"aws_a": "x"}, True),  # equal to nothing: "no value" is null
        ({"StringLike": {"aws:a": "${aws:b}"}}, {"aws_a": "x", "aws_b": "*"}, False),  # a request brings no wildcard
        ({"StringLike": {"aws:a": "${*}"}}, {"aws_a": "*"}, True),
        ({"StringLike": {"aws:a": "${*}"}}, {"aws_a": "x"}, False),
    ],
)
def test_conditions_hold_as_the_user_guide_says(
    condition: Mapping[str, Any], known: Mapping[str, Value], expected: bool
) -> None:
    assert allows(condition, **known) is expected
    assert denies(condition, **known) is expected


@pytest.mark.parametrize("condition", [{"NumericEquals": {"aws:a": "1"}}, {"ForSome:StringEquals": {"aws:a": "1"}}])
def test_what_is_not_understood_never_allows_and_always_denies(condition: Mapping[str, Any]) -> None:
    assert not allows(condition, aws_a="1")
    assert denies(condition, aws_a="1")
    strange = {"Effect": "Allow", "Action": "*", "Resource": "*", "Unheard": "of"}
    assert not is_allowed([strange], Permission("s3:GetObject", "x"))


def test_a_variable_in_a_resource_is_the_requests_own_and_brings_no_wildcard() -> None:
    statement = {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/status/${aws:UserAgent}.json"}

    def may(key: str, **known: str) -> bool:
        return is_allowed([statement], Permission("s3:PutObject", f"arn:aws:s3:::b/status/{key}.json", _keys(known)))

    assert may("i-1", aws_UserAgent="i-1")
    assert not may("i-2", aws_UserAgent="i-1")
    assert not may("i-2", aws_UserAgent="*")
    assert not may("i-2", aws_UserAgent="i-?")
    assert not may("i-2")
    assert not may("")


def test_actions_have_no_case_and_resources_have() -> None:
    statement = {"Effect": "Allow", "Action": "S3:get*", "Resource": "arn:aws:s3:::b/k"}
    assert is_allowed([statement], Permission("s3:GetObject", "arn:aws:s3:::b/k"))
    assert not is_allowed([statement], Permission("s3:GetObject", "arn:aws:s3:::b/K"))
    assert not is_allowed([statement], Permission("s3:PutObject", "arn:aws:s3:::b/k"))
    but = {"Effect": "Deny", "NotAction": "s3:GetObject", "NotResource": "arn:aws:s3:::b/k"}
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    assert is_allowed([everything, but], Permission("s3:PutObject", "arn:aws:s3:::b/k"))
    assert not is_allowed([everything, but], Permission("s3:PutObject", "arn:aws:s3:::b/other"))


def test_nothing_is_allowed_without_an_allow() -> None:
    assert not is_allowed([], Permission("s3:GetObject", "arn:aws:s3:::b/k"))
