"""`coordinator history`: what was published, when and by whom, from the signed chain of targets metadata."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from tuf.api.exceptions import RepositoryError

from coordinator.layout import metadata_key
from coordinator.repository import Repository
from coordinator.state import Note, PublishedGroup, groups_of, note_of
from coordinator.store import Store
from coordinator.tuf_api import Metadata, Targets
from units.errors import Refused


@dataclass(frozen=True, slots=True)
class GroupEvent:
    group: str
    kind: str  # new, changed, removed
    serial: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One commit. `version` is that of the targets metadata, `events` what it did to the groups."""

    version: int
    note: Note
    events: tuple[GroupEvent, ...]


def read_history(repository: Repository, *, limit: int) -> Iterator[Entry]:
    """Newest first. The head is verified by its signatures, every older one by the hash in the one after it."""
    state = repository.read()
    targets = state.targets
    for _ in range(limit):
        note = note_of(targets)
        older = _previous(repository.store, note)
        yield Entry(targets.version, note, _events(older, targets))
        if older is None:
            return
        targets = older


def read_groups(repository: Repository, *, limit: int) -> Iterator[tuple[Note, Mapping[str, PublishedGroup]]]:
    """Every group as each commit left it, newest first; as authentic as `read_history`."""
    state = repository.read()
    targets: Targets | None = state.targets
    for _ in range(limit):
        if targets is None:
            return
        note = note_of(targets)
        yield note, groups_of(targets)
        targets = _previous(repository.store, note)


def _previous(store: Store, note: Note) -> Targets | None:
    if note.previous is None:
        return None
    key = metadata_key("targets", note.previous.version)
    stored = store.get(key)
    if stored is None or sha256(stored.body).hexdigest() != note.previous.sha256:
        raise Refused(
            "history-broken",
            f"{store.url}/{key}: {'is missing' if stored is None else 'is not what was committed then'}",
            remedy="the current state is not touched by this; restore the object's first version to read further back",
        )
    try:
        return Metadata[Targets].from_bytes(stored.body).signed
    except RepositoryError as error:
        raise Refused("history-broken", f"{store.url}/{key}: {error}") from error


def _events(older: Targets | None, newer: Targets) -> tuple[GroupEvent, ...]:
    before: dict[str, PublishedGroup] = dict(groups_of(older)) if older else {}
    after = groups_of(newer)
    events = []
    for name, group in after.items():
        if name not in before:
            events.append(GroupEvent(name, "new", group.serial))
        elif before[name].serial != group.serial:
            events.append(GroupEvent(name, "changed", group.serial))
    events += [GroupEvent(name, "removed", group.serial) for name, group in before.items() if name not in after]
    return tuple(events)
