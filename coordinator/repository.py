"""Change the signed repository, safe among racing publishers and crashes (trust.md 1.7, "Publish algorithm").

Everything but `timestamp.json` is written once under a name of its own; `timestamp.json` is replaced only if it still
is what was read. That write is the commit: before it nothing has changed, after it everything has.
"""

import random
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from tuf.api.serialization.json import JSONSerializer

from coordinator.anchor import Anchor
from coordinator.draft import Decide, Draft
from coordinator.keys import RoleName, SigningKeys
from coordinator.layout import TIMESTAMP, metadata_key
from coordinator.state import NOTE_FIELD, Lifetimes, Note, Previous, State
from coordinator.store import Conflict, Store
from coordinator.tuf_api import Metadata, MetaFile, Root, Signed, Signer, Snapshot, TargetFile, Targets, Timestamp
from coordinator.verify import Verifier
from units.errors import Fatal, Refused, Retryable

PARALLEL: Final = 16
PER_CONNECTION: Final = (
    8  # a TLS connection costs 30 ms of CPU, most of it to load the authorities: few objects, few of them
)
COMMIT_TRIES: Final = 30
SLOTS: Final = 256  # orphans of crashed publishers that one commit steps over
_JSON: Final = JSONSerializer(compact=True)

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit that was read back with the node's own rules."""

    state: State
    draft: Draft | None
    tries: int


class Repository:
    """One cluster's signed repository."""

    def __init__(
        self,
        store: Store,
        anchor: Anchor,
        *,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.store = store
        self._anchor = anchor
        self._clock = clock
        self._sleep = sleep

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.store, self._anchor.root())

    def read(self) -> State:
        """The verified state. It may have expired; it is never older than one that this key directory has seen."""
        floor = self._anchor.floor()
        state = self.verifier.state()
        self._anchor.remember(state, floor=floor)
        return state

    def read_target(self, state: State, path: str) -> bytes:
        """The verified content of a target that the state names."""
        return self.verifier.target(path, state.targets.targets[path])

    def read_targets(self, wanted: Iterable[tuple[str, TargetFile]]) -> list[bytes]:
        """The same for many at once, in the order asked for."""
        verifier, items = self.verifier, list(wanted)
        with ThreadPoolExecutor(max_workers=_connections(len(items))) as pool:
            return list(pool.map(lambda item: verifier.target(*item), items))

    def found(self, draft: Draft, keys: SigningKeys) -> Committed:
        """The first commit, where there is no timestamp yet; Conflict if there is one."""
        root = Metadata[Root].from_bytes(self._anchor.root()).signed
        self._write(None, draft, self._signers(root, keys, "targets", "snapshot", "timestamp"))
        return self._read_back(draft, minimum=1, tries=1)

    def commit(self, decide: Decide, keys: SigningKeys) -> Committed | None:
        """Apply a change to the newest state, again until nobody was faster; None if there is none to make."""
        state = self.read()
        for tries in range(1, COMMIT_TRIES + 1):
            draft = decide(state)
            if draft is None:
                return None
            try:
                signers = self._signers(state.root, keys, "targets", "snapshot", "timestamp")
                version = self._write(state, draft, signers)
                return self._read_back(draft, minimum=version, tries=tries)
            except Conflict:
                self._sleep(random.uniform(0, min(1.0, 0.05 * tries)))  # noqa: S311 - jitter, no secret
                state = self.read()
        raise Retryable(
            "commit-contended",
            f"{self.store.url}: {COMMIT_TRIES} times somebody else was faster",
            remedy="find out who publishes all the time, then run the command again",
        )

    def refresh(self, keys: SigningKeys) -> Committed:
        """Sign freshness again with the online key, and the snapshot when a third of its life or less is left."""
        state = self.read()
        for tries in range(1, COMMIT_TRIES + 1):
            self._require_fresh_targets(state)
            signers = self._signers(state.root, keys, "snapshot", "timestamp")
            try:
                version = self._renew(state, signers)
                return self._read_back(None, minimum=version, tries=tries)
            except Conflict:
                self._sleep(random.uniform(0, min(1.0, 0.05 * tries)))  # noqa: S311 - jitter, no secret
                state = self.read()
        raise Retryable("commit-contended", f"{self.store.url}: somebody else publishes all the time")

    def _signers(self, root: Root, keys: SigningKeys, *roles: RoleName) -> dict[str, list[Signer]]:
        if root.is_expired(self._clock()):
            raise Refused(
                "root-expired",
                f"{self.store.url}: the root expired at {root.expires:%Y-%m-%dT%H:%MZ}; no node would accept a publish",
                remedy="run `coordinator trust rotate root --renew --yes` where the root keys are",
            )
        return keys.signers(root, *roles)

    def _require_fresh_targets(self, state: State) -> None:
        if state.targets.is_expired(self._clock()):
            raise Refused(
                "targets-expired",
                f"{self.store.url}: the targets expired at {state.targets.expires:%Y-%m-%dT%H:%MZ}; "
                "the online key cannot renew content",
                remedy="run `coordinator publish --yes` where the targets key is",
            )

    def _write(self, state: State | None, draft: Draft, signers: dict[str, list[Signer]]) -> int:
        """Targets, then metadata, then the commit. Returns the timestamp's version."""
        lifetimes = draft.lifetimes or (state.note.lifetimes if state else Lifetimes())
        self._upload(draft)
        content = _changed_targets(state, draft, at=self._clock(), lifetimes=lifetimes)
        content.expires = lifetimes.until("targets", self._clock())
        targets, _ = self._write_slot(content, (state.targets.version if state else 0) + 1, signers["targets"])
        return self._commit_snapshot(state, targets, lifetimes, signers)

    def _commit_snapshot(
        self, state: State | None, targets: int, lifetimes: Lifetimes, signers: dict[str, list[Signer]]
    ) -> int:
        snapshot = Snapshot(
            expires=lifetimes.until("snapshot", self._clock()), meta={"targets.json": MetaFile(targets)}
        )
        version, body = self._write_slot(snapshot, (state.snapshot.version if state else 0) + 1, signers["snapshot"])
        return self._commit_timestamp(state, MetaFile.from_data(version, body, ["sha256"]), lifetimes, signers)

    def _commit_timestamp(
        self, state: State | None, snapshot: MetaFile, lifetimes: Lifetimes, signers: dict[str, list[Signer]]
    ) -> int:
        version = (state.timestamp.version if state else 0) + 1
        timestamp = Timestamp(version, expires=lifetimes.until("timestamp", self._clock()), snapshot_meta=snapshot)
        body = _signed(timestamp, signers["timestamp"])
        try:
            if state is None:
                self.store.put(TIMESTAMP, body, if_none_match=True)
            else:
                self.store.put(TIMESTAMP, body, if_match=state.timestamp_etag)
        except Conflict:
            if not self._holds(TIMESTAMP, body):
                raise
        return version

    def _renew(self, state: State, signers: dict[str, list[Signer]]) -> int:
        lifetimes, now = state.note.lifetimes, self._clock()
        if state.days_left(now)["snapshot"] <= lifetimes.snapshot // 3:
            return self._commit_snapshot(state, state.targets.version, lifetimes, signers)
        return self._commit_timestamp(state, state.timestamp.snapshot_meta, lifetimes, signers)

    def _write_slot(self, content: Signed, first: int, signers: list[Signer]) -> tuple[int, bytes]:
        """Under the first free version: gaps are legal for every role but root. Returns version and bytes."""
        for version in range(first, first + SLOTS):
            content.version = version
            body = _signed(content, signers)
            key = metadata_key(content.type, version)
            try:
                self.store.put(key, body, if_none_match=True)
            except Conflict:
                if not self._holds(key, body):
                    continue
            return version, body
        raise Fatal(
            "metadata-slots-full",
            f"{self.store.url}: {SLOTS} {content.type} versions from {first} on exist and none was ever committed",
            remedy=f"somebody fills the store: find out who, and delete the {content.type} objects from {first} on",
        )

    def _upload(self, draft: Draft) -> None:
        with ThreadPoolExecutor(max_workers=_connections(len(draft.targets))) as pool:
            list(pool.map(lambda item: self._upload_target(item[1].key(item[0]), item[1].body), draft.targets.items()))

    def _upload_target(self, key: str, body: bytes) -> None:
        try:
            self.store.put(key, body, if_none_match=True)
        except Conflict:
            # Named by its hash: whatever else lies there is damage, and this heals it.
            if not self._holds(key, body):
                self.store.put(key, body)

    def _holds(self, key: str, body: bytes) -> bool:
        """Whether our own write went through although its answer was lost and the SDK tried again."""
        stored = self.store.get(key)
        return stored is not None and stored.body == body

    def _read_back(self, draft: Draft | None, *, minimum: int, tries: int) -> Committed:
        """As a node would, on a fresh cache and with expiry. Somebody else may have committed on top meanwhile."""
        floor = self._anchor.floor()
        state = self.verifier.state_as_of(self._clock())
        if state.timestamp.version < minimum:
            raise Refused(
                "read-back-older",
                f"{self.store.url}: committed timestamp {minimum}, but {state.timestamp.version} is read back",
                remedy="somebody replaces objects in the store: look at its access log",
            )
        if draft is not None:
            expected = {path: target.target_file(path) for path, target in draft.targets.items()}
            self.read_targets(
                (path, target) for path, target in expected.items() if state.targets.targets.get(path) == target
            )
        self._anchor.remember(state, floor=floor)
        return Committed(state, draft, tries)


def _connections(objects: int) -> int:
    return min(PARALLEL, 1 + objects // PER_CONNECTION)


def _changed_targets(state: State | None, draft: Draft, *, at: datetime, lifetimes: Lifetimes) -> Targets:
    before = state.targets.targets if state else {}
    after = {path: target for path, target in before.items() if path not in draft.removed}
    after |= {path: target.target_file(path) for path, target in draft.targets.items()}
    note = Note(
        serial=draft.serial if draft.serial is not None else (state.note.serial if state else 0),
        at=f"{at:%Y-%m-%dT%H:%M:%SZ}",
        by=draft.by,
        what=draft.what,
        previous=Previous(version=state.targets.version, sha256=state.targets_sha256) if state else None,
        lifetimes=lifetimes,
    )
    return Targets(targets=after, unrecognized_fields={NOTE_FIELD: note.model_dump(mode="json")})


def _signed(content: Signed, signers: list[Signer]) -> bytes:
    metadata: Metadata[Any] = Metadata(content)
    for signer in signers:
        # Without append every signature would replace the one before (trust.md 1.2, library traps).
        metadata.sign(signer, append=True)
    return metadata.to_bytes(_JSON)
