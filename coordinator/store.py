"""Where a cluster's objects lie. A `Store` is rooted at one cluster (DESIGN section 4), so keys are relative to it:
`tuf/metadata/timestamp.json`, `assets/sha256/ab/ab12...`, `status/i-0123.json`.

`DirectoryStore` keeps them under a directory, for air-gapped use and tests; `coordinator.aws.s3.S3Store` in S3. Both
give the same promises, above all the two conditional writes on which a safe publish rests (trust.md 1.7).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from units.errors import Retryable

MAX_OBJECT_BYTES = 8 * 1024 * 1024  # of an object read whole; TUF's largest metadata limit is 5 MB

Progress = Callable[[int], None]  # called with the number of bytes written since the last call


def no_progress(_written: int) -> None:
    return


class Conflict(Retryable):
    """A conditional write lost: the object exists already, or is no longer what was read."""

    def __init__(self, key: str, found: str) -> None:
        super().__init__(
            "store-conflict",
            f"{key}: {found}",
            remedy="somebody else writes to this cluster at the same time; run the command again",
        )
        self.key = key


@dataclass(frozen=True, slots=True)
class Stored:
    body: bytes = field(repr=False)
    etag: str  # opaque; only good for `if_match`


@dataclass(frozen=True, slots=True)
class Listed:
    key: str
    size: int
    modified: datetime  # aware, UTC


class Store(Protocol):
    """Every method raises only units.errors: Retryable for weather, Fatal with the missing right for the rest."""

    @property
    def url(self) -> str:
        """For people: where this store is rooted."""

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> Stored | None:
        """The whole object, None if there is none; Fatal if it is larger than `limit` bytes."""

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        """Write the whole object or nothing; returns the new etag.

        `if_none_match`: only where nothing is yet. `if_match`: only over exactly that version. Else `Conflict`.
        """

    def put_file(self, key: str, path: Path, *, sha256: str, progress: Progress = no_progress) -> None:
        """Upload a file of any size, whose content is known to have this hex digest."""

    def delete(self, key: str) -> None:
        """Nothing happens if it is gone already. Only unsigned objects are ever deleted: `halt/GROUP`."""

    def size(self, key: str) -> int | None:
        """In bytes; None if there is no such object."""

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key starts with `prefix`, in order of key; pages are fetched as they are needed."""
