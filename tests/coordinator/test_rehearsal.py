"""One rehearsal for plans that only differ in texts which nothing looks at; one of its own for every other plan."""

import dataclasses
import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.preview import _diff, preview_group
from coordinator.rehearsal import Rehearsals, signature_of
from tests.units import sample
from units.errors import Invalid
from units.facts import sample_facts
from units.files import Directory, File
from units.manifest import ExtraFile, Manifest
from units.plan import plan
from units.systemd import Unit

WORKERS = sample.manifest("node")


def with_group(manifest: Manifest, **changes: object) -> Manifest:
    return manifest.model_copy(update={"group": manifest.group.model_copy(update=changes)})


def signatures(manifest: Manifest, zone: str = "eu-west-1a") -> list[object]:
    facts = sample_facts(zone=zone, region=manifest.cluster.region)
    return [signature_of(resource) for resource in plan(manifest, facts)]


def test_names_labels_and_zones_make_no_other_rehearsal() -> None:
    other = with_group(WORKERS, name="others", labels={"example.com/pool": "other"}, taints=())
    assert signatures(WORKERS) == signatures(other) == signatures(WORKERS, "eu-west-1b")


def test_what_a_machine_looks_at_makes_another_rehearsal() -> None:
    file = File("/etc/motd", "text")
    for change in ({"path": "/etc/issue"}, {"mode": 0o600}, {"owner": "etcd"}, {"secret": True}, {"kind": "unit"}):
        assert signature_of(dataclasses.replace(file, **change)) != signature_of(file)
    unit = Unit("a.service", "[Unit]\nAssertPathExists=/etc/motd\n[Service]\nExecStart=/bin/a --x\n")
    asserting = Unit("a.service", "[Unit]\nAssertPathExists=/etc/issue\n[Service]\nExecStart=/bin/a --x\n")
    with_data = Unit("a.service", f"{unit.content}--data-dir=/var/lib/a\n")
    assert len({signature_of(unit), signature_of(asserting), signature_of(with_data)}) == 3
    assert signature_of(Unit("a.service")) != signature_of(Unit("a.service", ""))
    assert signature_of(Directory("/a")) != signature_of(Directory("/a", mode=0o700))


def test_texts_that_only_a_real_machine_reads_make_no_other_rehearsal() -> None:
    assert signature_of(File("/etc/motd", "a")) == signature_of(File("/etc/motd", "b"))
    first = Unit("a.service", "[Service]\nExecStart=/bin/a --x\n", reads="1")
    assert signature_of(first) == signature_of(Unit("a.service", "[Service]\nExecStart=/bin/a --y\n", reads="2"))


def test_a_group_that_does_not_come_up_is_refused_although_its_neighbours_were_rehearsed() -> None:
    rehearsals = Rehearsals()
    preview_group(None, WORKERS, rehearsals)
    broken = WORKERS.model_copy(update={"files": (ExtraFile(path="/etc/cni", content="where a directory goes"),)})
    with pytest.raises(Invalid) as invalid:
        preview_group(None, broken, rehearsals)
    assert invalid.value.code == "preview-failed"


def test_a_shared_rehearsal_shows_the_same_changes() -> None:
    rehearsals = Rehearsals()
    preview_group(None, WORKERS, rehearsals)
    other = with_group(WORKERS, name="others", labels={})
    assert preview_group(WORKERS, other, rehearsals) == preview_group(WORKERS, other)


@given(st.lists(st.text(alphabet="ab", max_size=2), max_size=5))
def test_the_lines_of_something_new_are_those_that_difflib_finds(after: list[str]) -> None:
    assert _diff((), tuple(after)) == tuple(difflib.unified_diff((), after, lineterm="", n=2))[2:]
