"""One operator's desk in tests: key directory, store, clock; and the ways in which it can be struck by lightning."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives import serialization

from coordinator.anchor import Anchor
from coordinator.draft import Draft, NewTarget
from coordinator.founding import RECORD_FILE, Founded, FoundingRequest, FoundingTools, Record, found_cluster
from coordinator.key_directory import KeyDirectory
from coordinator.keys import SigningKeys, make_signing_key
from coordinator.passphrase import Passphrase
from coordinator.repository import Repository
from coordinator.root_keys import KeyPlan
from coordinator.secrets_key import LocalSecretsKey
from coordinator.state import Lifetimes, State
from coordinator.store import Listed, Progress, Store, Stored, no_progress

CLUSTER = "prod.example.com"
PASSPHRASE = "correct horse battery staple"
LOCAL_KEY = bytes(range(32))
T = TypeVar("T")


class ClockDouble:
    """Stands still unless it is moved. It starts at the real time, because certificates are judged by theirs."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **delta: float) -> None:
        self.now += timedelta(**delta)


class Crash(BaseException):
    """Power loss. Not an Exception, so that no handler can mistake it for an error."""


class Fuse:
    """Burns down by one at every durable write; then every write is a crash, as in a dead process."""

    def __init__(self, writes: int, *, after: bool) -> None:
        self.left = writes
        self.after = after  # the last write still happens, but nobody hears of it
        self._lock = threading.Lock()

    def write(self, action: Callable[[], T]) -> T:
        with self._lock:
            self.left -= 1
            if self.left < 0 or (self.left == 0 and not self.after):
                self.left = -1
                raise Crash
            result = action()
            if self.left == 0:
                raise Crash
            return result


class CrashingStoreDouble:
    """A real store behind a fuse."""

    def __init__(self, store: Store, fuse: Fuse) -> None:
        self._store = store
        self._fuse = fuse
        self.url = store.url

    def get(self, key: str, *, limit: int = 8 * 1024 * 1024) -> Stored | None:
        return self._store.get(key, limit=limit)

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        return self._fuse.write(lambda: self._store.put(key, body, if_none_match=if_none_match, if_match=if_match))

    def put_file(self, key: str, path: Path, *, sha256: str, progress: Progress = no_progress) -> None:
        self._fuse.write(lambda: self._store.put_file(key, path, sha256=sha256, progress=progress))

    def delete(self, key: str) -> None:
        self._fuse.write(lambda: self._store.delete(key))

    def size(self, key: str) -> int | None:
        return self._store.size(key)

    def list(self, prefix: str) -> Iterator[Listed]:
        return self._store.list(prefix)


class CrashingKeyDirectoryDouble(KeyDirectory):
    """A real key directory behind a fuse."""

    def __init__(self, path: Path, fuse: Fuse) -> None:
        super().__init__(path)
        self._fuse = fuse

    def write(self, name: str, content: bytes) -> None:
        self._fuse.write(lambda: super(CrashingKeyDirectoryDouble, self).write(name, content))


class Workshop:
    """Everything one operator has for one cluster."""

    def __init__(self, keys: Path, store: Store, clock: ClockDouble, fuse: Fuse | None = None) -> None:
        self.clock = clock
        self.directory = KeyDirectory(keys) if fuse is None else CrashingKeyDirectoryDouble(keys, fuse)
        self.store: Store = store if fuse is None else CrashingStoreDouble(store, fuse)
        self.passphrase = Passphrase(PASSPHRASE)
        self.waits: list[float] = []

    @property
    def repository(self) -> Repository:
        return Repository(self.store, Anchor(self.directory), clock=self.clock, sleep=self.waits.append)

    @property
    def signing(self) -> SigningKeys:
        return SigningKeys(self.directory, self.passphrase, _no_kms)

    def found(self, plan: KeyPlan | None = None, lifetimes: Lifetimes | None = None) -> Founded:
        seed_cheap_keys(self.directory.path, plan or KeyPlan())
        return found_cluster(
            FoundingRequest(CLUSTER, plan or KeyPlan(), "local", lifetimes or Lifetimes(), "tests"),
            FoundingTools(
                store=self.store,
                directory=self.directory,
                passphrase=self.passphrase,
                repository=self.repository,
                signing=self.signing,
                kms_public_key=_no_kms,
                secrets_key=lambda _choice: LocalSecretsKey(LOCAL_KEY),
                clock=self.clock,
                say=lambda _text: None,
            ),
        )

    def finished(self) -> bool:
        """Whether init itself thinks that it is done."""
        record = self.directory.read(RECORD_FILE)
        return record is not None and Record.model_validate_json(record).done

    def put_target(self, path: str, body: bytes) -> None:
        """A commit that sets one target."""
        self.repository.commit(lambda _state: Draft(f"set {path}", "tests", {path: NewTarget(body)}), self.signing)


def append_line(path: str, line: str, repository: Repository) -> Callable[[State], Draft]:
    """A change that builds on what is there: a lost update shows as a lost line."""

    def decide(state: State) -> Draft:
        before = repository.read_target(state, path) if path in state.targets.targets else b""
        return Draft(f"append {line}", "tests", {path: NewTarget(before + line.encode() + b"\n")})

    return decide


def seed_cheap_keys(directory: Path, plan: KeyPlan) -> None:
    """Key files whose passphrase is stretched 2048 times only: real PKCS#8, opened 400 times faster than init's own.

    An existing key file is never written again, so init uses them.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in plan.key_files:
        file = directory / name
        if not file.exists():
            file.write_bytes(
                make_signing_key().private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.BestAvailableEncryption(PASSPHRASE.encode()),
                )
            )


def _no_kms(*_: object) -> None:
    raise AssertionError("this cluster has no key in KMS")
