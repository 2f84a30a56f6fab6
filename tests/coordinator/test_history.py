"""History: one signed chain, as authentic as its head."""

import pytest

from coordinator.history import Entry, read_history
from coordinator.layout import metadata_key
from tests.coordinator.test_publish import look, manifest_of, sign
from tests.coordinator.workshop import Workshop
from units.errors import Refused


def history(workshop: Workshop, limit: int = 100) -> list[Entry]:
    return list(read_history(workshop.repository, limit=limit))


def test_every_commit_is_told_with_what_it_did_to_which_group(workshop: Workshop) -> None:
    sign(workshop, look(workshop, manifest_of("a"), manifest_of("b")))
    sign(workshop, look(workshop, manifest_of("a", pause_image="registry.k8s.io/pause:2")))
    entries = history(workshop)
    assert [(entry.version, entry.note.serial) for entry in entries] == [(3, 2), (2, 1), (1, 0)]
    assert [(event.group, event.kind, event.serial) for event in entries[0].events] == [
        ("a", "changed", 2),
        ("b", "removed", 1),
    ]
    assert [(event.group, event.kind, event.serial) for event in entries[1].events] == [
        ("a", "new", 1),
        ("b", "new", 1),
    ]
    assert entries[0].note.what == "publish changed: a; removed: b"
    assert entries[0].note.by == "tests"


def test_the_limit_bounds_what_is_read(workshop: Workshop) -> None:
    for number in range(4):
        workshop.put_target("groups/x.json", str(number).encode())
    assert [entry.version for entry in history(workshop, limit=2)] == [5, 4]


def test_orphans_are_not_part_of_history(workshop: Workshop) -> None:
    workshop.store.put(metadata_key("targets", 2), b"orphan")
    workshop.put_target("groups/x.json", b"1")
    assert [entry.version for entry in history(workshop)] == [3, 1]


@pytest.mark.parametrize("damage", ["replaced", "emptied"])
def test_a_rewritten_past_is_refused(workshop: Workshop, damage: str) -> None:
    workshop.put_target("groups/x.json", b"1")
    workshop.put_target("groups/x.json", b"2")
    newest = workshop.store.get(metadata_key("targets", 3))
    assert newest is not None
    # Even metadata that the true key signed is not believed in another commit's place.
    workshop.store.put(metadata_key("targets", 2), newest.body if damage == "replaced" else b"")
    with pytest.raises(Refused) as caught:
        history(workshop)
    assert caught.value.code == "history-broken"
    assert [entry.version for entry in history(workshop, limit=0)] == []
