"""Templates: values from Terraform, nothing undefined, nothing outside the sandbox."""

import json
from pathlib import Path

import pytest

from coordinator.spec import SpecInvalid, load_spec, read_values, render_template

HA_PRIVATE = Path(__file__).parents[3] / "examples" / "ha-private"
VALUES = {"region": "eu-west-1", "subnets": [{"id": "subnet-1", "zone": "a"}], "encrypted": True}


def refusal(template: str, values: dict | None = None) -> SpecInvalid:
    with pytest.raises(SpecInvalid) as caught:
        render_template(template, VALUES if values is None else values)
    return caught.value


def test_the_committed_example_is_the_rendered_template():
    values = read_values(HA_PRIVATE / "terraform-outputs.json")
    assert (
        render_template((HA_PRIVATE / "cluster.yaml.j2").read_text(), values)
        == (HA_PRIVATE / "cluster.yaml").read_text()
    )


def test_terraform_outputs_stand_for_their_values():
    outputs = {
        "plain": "a",
        "bare": {"value": "b"},
        "full": {"sensitive": False, "type": "string", "value": "c"},
        "list": {"sensitive": True, "type": ["list", "string"], "value": ["d", "e"]},
    }
    assert render_template("{{ plain }} {{ bare }} {{ full }} {{ list[1] }}", outputs) == "a b c e"


def test_an_object_that_only_looks_like_an_output_stays_as_it_is():
    tag = {"key": "a", "value": "b"}
    assert render_template("{{ tag.key }}={{ tag.value }}", {"tag": tag}) == "a=b"
    assert render_template("{{ outer.tag.value }}", {"outer": {"tag": {"value": "b"}}}) == "b"


def test_what_an_expression_gives_is_yaml():
    values = {"yes": True, "no": False, "none": None, "list": ["a", 1, True], "map": {"k": None}}
    assert (
        render_template("{{ yes }} {{ no }} {{ none }} {{ list }} {{ map }}", values)
        == 'true false null ["a", 1, true] {"k": null}'
    )


def test_an_undefined_value_names_its_line_and_what_is_available():
    (problem,) = refusal("a: 1\nb: {{ regoin }}\n").problems
    assert problem.line == 2
    assert problem.found == '"regoin", which is not defined'
    assert problem.allowed == "encrypted, region, subnets"
    assert problem.remedy == "did you mean region?"


def test_a_missing_key_names_the_keys_that_are_there():
    (problem,) = refusal("x\n\n{{ subnets[0].cidr }}").problems
    assert (problem.line, problem.allowed) == (3, "id, zone")


def test_an_undefined_value_in_a_loop_is_reported_on_the_line_of_its_use():
    (problem,) = refusal("{% for s in subnets %}\n- {{ s.id }}\n- {{ s.nope }}\n{% endfor %}").problems
    assert problem.line == 3


def test_all_undefined_names_come_at_once():
    error = refusal("{{ one }}\n{{ region }}\n{{ two }}\n{% if three is defined %}{% endif %}{{ four | default('x') }}")
    assert [(problem.line, problem.found.split('"')[1]) for problem in error.problems] == [(1, "one"), (3, "two")]


def test_an_index_past_the_end_and_an_attribute_of_text_are_undefined_too():
    assert "not defined" in str(refusal("{{ subnets[5] }}"))
    assert "not defined" in str(refusal("{{ region.name }}"))


def test_an_undefined_value_does_not_pass_through_a_condition():
    assert refusal("{% if nothing %}a{% endif %}").problems[0].line == 1


@pytest.mark.parametrize(
    ("template", "line", "words"),
    [
        ("a\n{% if %}", 2, "Expected an expression"),
        ("a\n\n{{ 1 / 0 }}", 3, "division by zero"),
        ("{{ region + 1 }}", 1, "can only concatenate str"),
        ("{% include '/etc/passwd' %}", 1, "no loader"),
        ("a\n{{ ''.__class__.__mro__ }}", 2, "unsafe"),
        ("{{ subnets.append(1) }}", 1, "unsafe"),
        ("{{ region | nosuchfilter }}", 1, "No filter named"),
        ("{% macro a() %}{{ a() }}{% endmacro %}\n{{ a() }}", 1, "recursion"),
        ("{{ 'x' * 10 ** 9 }}", 1, "too large"),
        ("{{ 2 ** 10000000 }}", 1, "too large"),
        ("{% for i in range(100000) %}{{ 'x' * 100 }}{% endfor %}", None, "characters come out"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", 1, "Range too big"),
    ],
)
def test_a_template_that_cannot_work_is_refused_with_its_line(template, line, words):
    (problem,) = refusal(template).problems
    assert problem.line == line
    assert words in problem.found


def test_a_value_cannot_carry_template_code():
    assert render_template("{{ region }}", {"region": "{{ 7 * 7 }}"}) == "{{ 7 * 7 }}"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("{", 1, "expecting property name"),
        ('{"a": 1,\n "b" 2}', 2, "expecting ':'"),
        ("[1]", 1, "a list"),
        ("", 1, "expecting value"),
        ("[" * 100_000, None, "out of all proportion"),
        ('{"a": ' + "9" * 10_000 + "}", None, "out of all proportion"),
    ],
)
def test_values_that_are_no_json_object_are_refused(text, line, words):
    with pytest.raises(SpecInvalid) as caught:
        read_values(text)
    (problem,) = caught.value.problems
    assert problem.line == line
    assert words in problem.found


def test_values_are_read_from_a_file(tmp_path):
    path = tmp_path / "values.json"
    path.write_text(json.dumps(VALUES))
    assert read_values(path) == VALUES


def test_the_highly_available_example_is_what_the_issue_describes():
    spec = load_spec(HA_PRIVATE / "cluster.yaml")
    assert spec.region == "eu-west-1"
    assert str(spec.network.cidr) == "10.99.0.0/20"
    assert spec.network.cni == "calico"
    assert [(subnet.zone, subnet.topology) for subnet in spec.network.subnets] == [
        ("eu-west-1a", "private"),
        ("eu-west-1b", "private"),
        ("eu-west-1c", "private"),
    ]
    assert [group.zones for group in spec.control_plane_groups] == [("eu-west-1a",), ("eu-west-1b",), ("eu-west-1c",)]
    workers = spec.group("workers")
    assert (workers.min_size, workers.max_size, len(workers.zones)) == (3, 3, 3)
    assert spec.dns.mode == "private"
    assert spec.api.admin_cidrs
    assert spec.cloud_labels["Environment"] == "production"


def test_the_minimal_example_fits_on_a_screen():
    text = (HA_PRIVATE.parent / "minimal" / "cluster.yaml").read_text()
    assert text.count("\n") <= 30
    assert {subnet.zone for subnet in load_spec(text).network.subnets} == {"eu-west-1a"}
