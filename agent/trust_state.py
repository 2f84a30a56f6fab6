"""What a node remembers of the repository between boots: caches, the floors, and the last release that it verified.

    /var/lib/bootwright/trust/
      metadata/                     python-tuf's cache; may be lost at any time
      floors.a.json floors.b.json   versions that must never be seen lower again; written one after the other
      release.json                  the last verified release document
      verified.json                 what was verified with it; whoever reads release.json compares its hash with this

python-tuf never calls fsync: after a power cut its timestamp and snapshot may both be empty, and then it would accept
an old repository (trust.md 1.3). The floors are what survives that.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from agent.durable import read_bounded, sync_directory, sync_file, write_durably
from agent.linux.atomic import is_temporary
from agent.trust import Floors, Verified, decode_floors, decode_verified, encode
from agent.waits import Waits
from units.errors import Retryable

STATE = Path("/var/lib/bootwright/trust")
BAKED_ROOT = Path("/usr/share/bootwright/trust/root.json")
LOCK_LIMIT = 120.0  # seconds: another refresh is bounded to about a minute
TIME_STEP = timedelta(hours=1)
_MAX_RELEASE = 2_000_000
_MAX_RECORD = 64 * 1024


Record = TypeVar("Record")


class TrustState:
    """Reading never fails for damage: what cannot be read is not there. Writing raises OSError as it comes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.metadata = directory / "metadata"

    @contextmanager
    def locked(self, waits: Waits) -> Iterator[None]:
        """One agent at a time: python-tuf does not support two on one cache.

        The directory itself is locked, so that a full or read-only disk needs no lock file.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            waits.until("verifying the repository", lambda: _lock(descriptor), limit=LOCK_LIMIT, longest=1.0)
            yield
        finally:
            os.close(descriptor)

    def prepare(self) -> None:
        self.metadata.mkdir(mode=0o700, parents=True, exist_ok=True)
        strays = [*self.metadata.glob("tmp*"), *filter(_is_stray, self._directory.iterdir())]
        for stray in strays:  # python-tuf's and our own, from before a power cut
            stray.unlink(missing_ok=True)

    def wipe_cache(self) -> None:
        """A cache that python-tuf cannot even open: a directory in place of a file, wrong permissions."""
        if self.metadata.is_dir() and not self.metadata.is_symlink():
            shutil.rmtree(self.metadata)
        else:
            self.metadata.unlink(missing_ok=True)
        self.prepare()

    def forget_refused(self) -> None:
        """Drop cached metadata below the floors. Roots stay: their chain of signatures speaks for itself."""
        for role in ("timestamp", "snapshot", "targets"):
            (self.metadata / f"{role}.json").unlink(missing_ok=True)

    def cached_root(self, version: int) -> bytes | None:
        with contextlib.suppress(OSError):
            return read_bounded(self.metadata / "root_history" / f"{version}.root.json", limit=512_000)
        return None

    def cached_timestamp(self) -> bytes:
        return (self.metadata / "timestamp.json").read_bytes()

    def floors(self) -> Floors | None:
        """The higher of both copies: a crash between them leaves one behind."""
        copies = [self._read(f"floors.{copy}.json", decode_floors) for copy in "ab"]
        found = [copy for copy in copies if copy is not None]
        return max(found, key=lambda floors: (floors.versions.root, floors.last_known_time)) if found else None

    def time_at_least(self, now: datetime, *, baked_root: Path) -> datetime:
        """Never before what is known to have passed: a clock set back must not make old signatures fresh again."""
        floors = self.floors()
        times = [now, floors.last_known_time] if floors else [now]
        with contextlib.suppress(FileNotFoundError):
            times.append(datetime.fromtimestamp(baked_root.stat().st_mtime, UTC))
        return max(times)

    def verified(self) -> tuple[Verified, bytes] | None:
        """The last verified release, if it still is what was verified."""
        record = self._read("verified.json", decode_verified)
        if record is None:
            return None
        with contextlib.suppress(OSError):
            release = read_bounded(self._directory / "release.json", limit=_MAX_RELEASE)
            if release is not None and hashlib.sha256(release).hexdigest() == record.release_sha256:
                return record, release
        return None

    def remember(self, floors: Floors, verified: Verified, release: bytes) -> None:
        """Make a good refresh durable: first what it rests on, then the floors, and last what vouches for it all."""
        for path in (*self.metadata.glob("*.json"), *(self.metadata / "root_history").iterdir()):
            sync_file(path)
        sync_directory(self.metadata / "root_history")
        sync_directory(self.metadata)
        for copy in "ab":
            self._write(f"floors.{copy}.json", encode(self._unless_only_the_time_passed(floors)))
        self._write("release.json", release)
        self._write("verified.json", encode(verified))

    def _unless_only_the_time_passed(self, floors: Floors) -> Floors:
        """Within the hour: a boot that finds nothing new then writes nothing, and waits for no disk."""
        known = self.floors()
        if known is None or floors.last_known_time - known.last_known_time >= TIME_STEP:
            return floors
        same = known == replace(floors, last_known_time=known.last_known_time)
        return known if same else floors

    def _write(self, name: str, content: bytes) -> None:
        path = self._directory / name
        with contextlib.suppress(OSError):
            if path.read_bytes() == content:
                return
        write_durably(path, content)

    def _read(self, name: str, decode: Callable[[bytes], Record]) -> Record | None:
        with contextlib.suppress(OSError, ValueError):
            data = read_bounded(self._directory / name, limit=_MAX_RECORD)
            return None if data is None else decode(data)
        return None


def _is_stray(path: Path) -> bool:
    return is_temporary(path.name)


def _lock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise Retryable(
            "trust-busy",
            "another agent on this machine is verifying the repository",
            remedy="wait for it, or look with `ps` for an agent that hangs",
        ) from error
