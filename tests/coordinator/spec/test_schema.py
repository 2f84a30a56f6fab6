"""The JSON Schema and the reference: complete, described, and of one mind with load_spec."""

from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest
import yaml

from coordinator.spec import load_spec, spec_schema
from coordinator.spec.flags import OWNED, REMOVED, UNWISE
from coordinator.spec.known_flags import KNOWN
from coordinator.spec.reference import spec_reference
from coordinator.spec.schema import example_at
from units.kubelet_fields import kubelet_fields

ROOT = Path(__file__).parents[3]
CASES = Path(__file__).parent / "cases"
ACCEPTED = sorted((CASES / "accepted").glob("*.yaml")) + sorted((ROOT / "examples").glob("*/cluster.yaml"))


def fields():
    schema = spec_schema()
    for name, model in [("ClusterSpec", schema), *schema["$defs"].items()]:
        for key, field in model.get("properties", {}).items():
            yield f"{name}.{key}", field


def test_the_schema_is_a_valid_schema():
    jsonschema.Draft202012Validator.check_schema(spec_schema())


def test_every_field_has_a_description_that_is_a_sentence():
    bare = [name for name, field in fields() if not field.get("description", "").endswith(".")]
    assert not bare


def test_every_field_is_camel_case():
    assert not [name for name, _ in fields() if "_" in name]


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_editor_accepts_what_load_spec_accepts(path):
    load_spec(path)
    jsonschema.Draft202012Validator(spec_schema()).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize(
    "name", ["unknown-keys", "wrong-kinds", "names", "everything-missing", "versions-too-old", "kubelet-fields"]
)
def test_an_editor_refuses_what_load_spec_refuses_for_its_shape(name):
    wrong = yaml.safe_load((CASES / "refused" / f"{name}.yaml").read_text())
    assert not jsonschema.Draft202012Validator(spec_schema()).is_valid(wrong)


def test_changing_the_returned_schema_changes_nothing_else():
    spec_schema()["properties"].clear()
    assert spec_schema()["properties"]


def test_the_smallest_example_made_from_the_schema_needs_only_an_endpoint():
    example = example_at(())
    assert isinstance(example, dict)
    load_spec(yaml.safe_dump(example | {"api": {"endpoint": "api.example.com"}}))


def test_the_reference_is_written_from_the_schema():
    written = (ROOT / "docs" / "spec.md").read_text()
    assert written == spec_reference(), "run: python -m coordinator.spec.reference > docs/spec.md"


def test_the_reference_has_every_field():
    reference = spec_reference()
    assert not [name for name, _ in fields() if f"| `{name.partition('.')[2]}` |" not in reference]


def test_kubelet_fields_only_grow():
    releases = [kubelet_fields(minor) for minor in range(31, 37)]
    assert [len(release) for release in releases] == [117, 119, 123, 123, 123, 125]
    assert all(older <= newer for older, newer in pairwise(releases))


@pytest.mark.parametrize("component", sorted(REMOVED))
def test_the_tables_of_flags_do_not_contradict_each_other(component):
    gone_for_good = {flag for flag, removed in REMOVED[component].items() if removed.minor == 0}
    assert not gone_for_good & OWNED[component].keys()
    assert not gone_for_good & UNWISE[component].keys()
    assert not gone_for_good & KNOWN[component]
    assert not OWNED[component].keys() & UNWISE[component].keys()
    if KNOWN[component]:
        assert not (OWNED[component].keys() | UNWISE[component].keys()) - KNOWN[component]
