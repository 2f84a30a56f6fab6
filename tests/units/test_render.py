"""Values to text: what is read back is what was written, for PyYAML and for the Go libraries that read it."""

import json
from typing import Any

import jinja2
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from units.render import flags, json_text, template_text, yaml_text

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=40)
VALUES: Any = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
)


@given(VALUES)
def test_yaml_reads_back_as_it_was(value: Any) -> None:
    assert yaml.safe_load(yaml_text(value)) == value


@given(VALUES)
def test_yaml_has_no_anchors_and_is_the_same_every_time(value: Any) -> None:
    twice = {"one": value, "two": value}
    assert yaml_text(twice) == yaml_text(twice)
    assert not [token for token in yaml.scan(yaml_text(twice)) if isinstance(token, yaml.AliasToken | yaml.AnchorToken)]


def test_text_of_several_lines_stands_as_a_block() -> None:
    assert yaml_text({"a": "one\ntwo\n"}) == "a: |\n  one\n  two\n"


def test_lists_are_indented_and_order_is_kept() -> None:
    assert yaml_text({"kind": "Pod", "apiVersion": ["v1"]}) == "kind: Pod\napiVersion:\n  - v1\n"


# What sigs.k8s.io/yaml (go-yaml v2) resolves to a number or a truth value when it stands plain.
GO_RESOLVES = ["1e3", "1E3", "12e4567", ".5e1", "0o17", "0b1", "0x1F", "1_000", "y", "Y", "n", "N", "yes", "on", "off"]


@pytest.mark.parametrize("text", [*GO_RESOLVES, "1", "1.5", "true", "null", "~", "", "-", "2026-01-01", "1:30", "+1"])
def test_text_that_go_would_read_as_something_else_is_quoted(text: str) -> None:
    assert yaml_text({"a": text}).removeprefix("a: ").strip()[0] in "'\""


@pytest.mark.parametrize("text", ["kube-system", "v1.36.2", "1.36.2", "10%", "30s", "/etc/x", "i-0123", "5e"])
def test_ordinary_text_is_not_quoted(text: str) -> None:
    assert yaml_text({"a": text}) == f"a: {text}\n"


def test_json_is_sorted_and_ends_with_a_newline() -> None:
    assert json_text({"b": 1, "a": [2]}) == '{\n  "a": [\n    2\n  ],\n  "b": 1\n}\n'
    assert json.loads(json_text({"b": 1})) == {"b": 1}


def test_a_value_that_a_template_needs_and_does_not_get_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        template_text("containerd-v2.toml", pause_image="x")


def test_flags_are_sorted() -> None:
    assert flags({"b": "2", "a": "1"}) == ["--a=1", "--b=2"]
