"""Whatever is written, `load_spec` gives a ClusterSpec or a SpecInvalid; `render_template` a text or a SpecInvalid."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordinator.spec import ClusterSpec, SpecInvalid, load_spec, render_template
from coordinator.spec.flags import OWNED, REMOVED, UNWISE
from coordinator.spec.known_flags import KNOWN
from coordinator.spec.schema import spec_schema
from units.kubelet_fields import kubelet_fields

pytestmark = pytest.mark.slow  # hypothesis over whole specs

EXAMPLES = Path(__file__).parents[3] / "examples"
TEXTS = [path.read_text() for path in sorted(EXAMPLES.glob("*/cluster.yaml"))]
TEXTS += [path.read_text() for path in sorted((Path(__file__).parent / "cases" / "accepted").glob("*.yaml"))]
TREES = [yaml.safe_load(text) for text in TEXTS]

# The machine is shared: a slow example is no failure.
WITHOUT_CLOCK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def keys(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        return {key for value in schema.values() for key in keys(value)} | set(schema.get("properties", {}))
    return {key for value in schema for key in keys(value)} if isinstance(schema, list) else set()


OTHERS = ["a", "eu-west-1a", "10.0.0.0/8", "control-plane", "main", "x/y", "no", "0644", ""]
WORDS = [*sorted(keys(spec_schema()) | kubelet_fields(36)), *OTHERS]
FLAGS = sorted({flag for table in (KNOWN, OWNED, REMOVED, UNWISE) for flags in table.values() for flag in flags})
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(WORDS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def loads_or_refuses(source: str | Path) -> None:
    """Any other exception, and with it a traceback, fails the test."""
    refusal = None
    try:
        assert isinstance(load_spec(source), ClusterSpec)
    except SpecInvalid as error:
        refusal = error
    if refusal is not None:
        assert refusal.problems
        assert all(0 < len(str(problem)) < 4000 for problem in refusal.problems)


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path] + [place for key, value in inside for place in places(value, (*path, key))]


def exchanged(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(tree) if isinstance(tree, dict) else list(tree)
    copy[path[0]] = exchanged(tree[path[0]], path[1:], value)
    return copy


@WITHOUT_CLOCK
@given(st.text(max_size=300))
def test_any_text(text):
    loads_or_refuses(text)


@WITHOUT_CLOCK
@given(st.text(alphabet="abk: -[]{}&*<>!|?'\"\\#%@,\n\t0179", max_size=60))
def test_any_text_of_yaml_punctuation(text):
    loads_or_refuses(text)


@WITHOUT_CLOCK
@given(VALUES)
def test_any_value(value):
    loads_or_refuses(json.dumps(value))


@WITHOUT_CLOCK
@given(st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=8))
def test_any_mapping_of_known_words(value):
    loads_or_refuses(yaml.safe_dump(value, allow_unicode=True))


@settings(WITHOUT_CLOCK, max_examples=400)
@given(st.data())
def test_a_right_spec_with_any_three_values_exchanged(data):
    tree = data.draw(st.sampled_from(TREES))
    for _ in range(3):
        tree = exchanged(tree, data.draw(st.sampled_from(places(tree))), data.draw(VALUES))
    loads_or_refuses(json.dumps(tree))


@WITHOUT_CLOCK
@given(st.dictionaries(st.sampled_from(sorted(kubelet_fields(36))), VALUES, max_size=8))
def test_any_kubelet_fields(fields):
    tree = exchanged(TREES[0], ("instanceGroups", 0), TREES[0]["instanceGroups"][0] | {"kubelet": fields})
    loads_or_refuses(json.dumps(tree))


@WITHOUT_CLOCK
@given(
    st.dictionaries(st.sampled_from(FLAGS) | st.text(max_size=8), SCALARS, max_size=8), st.sampled_from(sorted(OWNED))
)
def test_any_flags(flags, component):
    loads_or_refuses(json.dumps(TREES[0] | {"components": {component: {"extraArgs": flags}}}))


@settings(WITHOUT_CLOCK, max_examples=300)
@given(st.data())
def test_a_right_spec_with_characters_cut_out_and_put_in(data):
    text = data.draw(st.sampled_from(TEXTS))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(start + 12, len(text))))
        text = (
            text[:start]
            + data.draw(st.text(max_size=4) | st.sampled_from(["\t", "&a ", "*a", "<<: ", "- ", ": "]))
            + text[end:]
        )
    loads_or_refuses(text)


@WITHOUT_CLOCK
@given(st.binary(max_size=200))
def test_any_file(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "cluster.yaml"
    path.write_bytes(content)
    loads_or_refuses(path)


@WITHOUT_CLOCK
@given(
    st.lists(
        st.sampled_from(
            [
                "{{",
                "}}",
                "{%",
                "%}",
                " for x in y ",
                " endfor ",
                "a",
                ".b",
                "|tojson",
                " + 1",
                "[0]",
                "(",
                ")",
                " if ",
                "1/0",
            ]
        ),
        max_size=12,
    )
)
def test_any_template(pieces):
    text = ""
    with contextlib.suppress(SpecInvalid):
        text = render_template("".join(pieces), {"a": {"value": 1}, "y": [1, {"b": None}]})
    assert isinstance(text, str)
