"""Every file in cases/ is a case: accepted/NAME.yaml loads, refused/NAME.yaml gives exactly refused/NAME.problems.

A new case needs no code: write the YAML, run `WRITE_CASES=1 pytest tests/coordinator/spec/test_cases.py`,
and read the .problems file it wrote.
"""

import os
from pathlib import Path

import pytest
import yaml

from coordinator.spec import SpecInvalid, load_spec
from coordinator.spec.decoding import decode
from coordinator.spec.defaults import fill
from coordinator.spec.rules import RULES
from coordinator.spec.rules.finding import Draft
from coordinator.spec.yaml_tree import NoTreeError, read_yaml

CASES = Path(__file__).parent / "cases"
ACCEPTED = sorted((CASES / "accepted").glob("*.yaml"))
REFUSED = sorted((CASES / "refused").glob("*.yaml"))


def name(path: Path) -> str:
    return path.stem


def problems_of(path: Path) -> str:
    with pytest.raises(SpecInvalid) as refusal:
        load_spec(path)
    return "".join(f"{problem}\n" for problem in refusal.value.problems)


@pytest.mark.parametrize("path", REFUSED, ids=name)
def test_a_wrong_spec_is_refused_with_exactly_these_problems(path):
    found = problems_of(path)
    expected = path.with_suffix(".problems")
    if os.environ.get("WRITE_CASES"):
        expected.write_text(found)
    assert found == expected.read_text()


@pytest.mark.parametrize("path", ACCEPTED, ids=name)
def test_a_right_spec_is_accepted_and_reads_the_same_when_written_out(path):
    spec = load_spec(path)
    written = yaml.safe_dump(spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True))
    assert load_spec(written) == spec


@pytest.mark.parametrize("path", REFUSED, ids=name)
def test_every_problem_is_on_a_line_of_the_file_and_says_what_is_allowed(path):
    lines = path.read_text().count("\n") + 1
    with pytest.raises(SpecInvalid) as refusal:
        load_spec(path)
    assert refusal.value.exit_code == 2
    for problem in refusal.value.problems:
        assert problem.line is None or 1 <= problem.line <= lines
        assert problem.found
        assert problem.allowed
        assert "Traceback" not in str(problem)


@pytest.mark.parametrize("path", [*ACCEPTED, *REFUSED], ids=name)
def test_libyaml_and_the_python_parser_agree_on_what_is_written(path):
    trees = []
    for parser in (yaml.CSafeLoader, yaml.SafeLoader):
        try:
            trees.append(read_yaml(path.read_text(), parser))
        except NoTreeError:
            trees.append("refused")
    assert trees[0] == trees[1]


def test_every_rule_is_broken_by_some_case():
    unbroken = {rule.broken for rule in RULES}
    for path in REFUSED:
        try:
            root, _ = read_yaml(path.read_text())
        except NoTreeError:
            continue
        spec = decode(root).spec
        assert spec is not None, f"nothing usable was left of {path.name}"
        draft = Draft(fill(spec), root)
        unbroken -= {broken for broken in unbroken if any(True for _ in broken(draft))}
    assert not unbroken
