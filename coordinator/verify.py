"""Read the repository as a node does: python-tuf's client, on a fresh cache, from the pinned root."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote

from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError, RepositoryError

from coordinator.layout import METADATA, TIMESTAMP, target_key
from coordinator.state import State
from coordinator.store import Store, Stored
from coordinator.tuf_api import (
    FetcherInterface,
    Metadata,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
    Updater,
    UpdaterConfig,
)
from units.errors import BootwrightError, Refused

_BASE = "store:///"
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class StoreFetcher(FetcherInterface):
    """Hands the store's objects to python-tuf, and keeps the timestamp's etag for the compare-and-swap."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.timestamp: Stored | None = None
        self.trouble: BootwrightError | None = None  # python-tuf wraps what we raise; the cause is told as it was

    def _fetch(self, url: str) -> Iterator[bytes]:
        key = unquote(url.removeprefix(_BASE))
        try:
            stored = self._store.get(key)
        except BootwrightError as error:
            self.trouble = error
            raise
        if stored is None:
            raise DownloadHTTPError(f"{key}: not found", 404)
        if key == TIMESTAMP:
            self.timestamp = stored
        return iter((stored.body,))


@dataclass(frozen=True, slots=True)
class Verifier:
    """`pinned` is a root that this operator trusts already; newer ones are reached through its signatures."""

    store: Store
    pinned: bytes

    def state(self) -> State:
        """The newest state, every signature, version and hash checked. It may have expired: see `State.expired`."""
        return self._read(_LONG_AGO)

    def state_as_of(self, now: datetime) -> State:
        """The same, and Refused if a node at this time would call it expired."""
        return self._read(now)

    def _read(self, reference_time: datetime) -> State:
        fetcher = StoreFetcher(self.store)
        with tempfile.TemporaryDirectory(prefix="bootwright-tuf-") as directory:
            try:
                updater = Updater(
                    directory,
                    f"{_BASE}{METADATA}",
                    fetcher=fetcher,
                    config=UpdaterConfig(root_max_length=64_000),
                    bootstrap=self.pinned,
                )
                # python-tuf has no public way to set the time it judges expiry by (trust.md 1.6).
                updater._trusted_set.reference_time = reference_time  # noqa: SLF001 - see the line above; contract-tested
                updater.refresh()
            except (RepositoryError, DownloadError) as error:
                raise fetcher.trouble or _refused(self.store, error) from error
            assert fetcher.timestamp is not None  # refresh() has just verified it
            return _state(Path(directory), fetcher.timestamp.etag)

    def target(self, path: str, expected: TargetFile) -> bytes:
        """The content of a signed target."""
        key = target_key(path, expected.hashes["sha256"])
        stored = self.store.get(key)
        if stored is None:
            raise Refused(
                "target-missing",
                f"{self.store.url}/{key}: is signed but not there",
                remedy="restore the object's version, or publish with --repair",
            )
        try:
            expected.verify_length_and_hashes(stored.body)
        except RepositoryError as error:
            raise Refused(
                "target-tampered",
                f"{self.store.url}/{key}: is not what was signed: {error}",
                remedy="find out who wrote it; publish with --repair writes the right content again",
            ) from error
        return stored.body


def _state(directory: Path, timestamp_etag: str) -> State:
    """From the files that the client kept: it keeps only what it has verified."""
    root_bytes = (directory / "root.json").read_bytes()
    targets_bytes = (directory / "targets.json").read_bytes()
    return State(
        root=Metadata[Root].from_bytes(root_bytes).signed,
        root_bytes=root_bytes,
        timestamp=Metadata[Timestamp].from_file(str(directory / "timestamp.json")).signed,
        timestamp_etag=timestamp_etag,
        snapshot=Metadata[Snapshot].from_file(str(directory / "snapshot.json")).signed,
        targets=Metadata[Targets].from_bytes(targets_bytes).signed,
        targets_sha256=sha256(targets_bytes).hexdigest(),
    )


def _refused(store: Store, error: RepositoryError | DownloadError) -> Refused:
    if isinstance(error, ExpiredMetadataError):
        return Refused(
            "repository-expired",
            f"{store.url}: {error}",
            remedy="run `coordinator refresh` where the online key is",
        )
    if isinstance(error, DownloadHTTPError):
        return Refused(
            "repository-incomplete",
            f"{store.url}: {error}",
            remedy="if this cluster was never initialised, run `coordinator init`; else restore the object's version",
        )
    return Refused(
        "repository-refused",
        f"{store.url}: the signed metadata does not verify: {type(error).__name__}: {error}",
        remedy="somebody without the keys changed it, or this key directory belongs to another cluster of that name",
    )
