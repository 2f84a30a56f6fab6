"""The signed repository as a node sees it: python-tuf's client, held to floors that only rise (trust.md 1.3 to 1.6).

`tuf` is imported by a refresh only; agent.poll says whether one is worth it.
"""

import errno
import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from agent import attacks
from agent.anchor import bootstrap_root, require_pin
from agent.aws.s3 import Store
from agent.aws.s3_errors import NoSuchKey, TooLong
from agent.durable import read_bounded
from agent.poll import MAX_TIMESTAMP, Poll, enrolment_of
from agent.settings import Settings
from agent.trust import Condition, Floors, Verified, VerifiedRelease, Versions, require_floors
from agent.trust_state import BAKED_ROOT, STATE, TrustState
from agent.waits import Waits
from units.errors import Fatal, Refused, Retryable

if TYPE_CHECKING:
    from tuf.ngclient.updater import Updater

__all__ = ["Condition", "Repository", "VerifiedRelease"]

GRACE = timedelta(days=30)  # DESIGN section 4: expiry never stops autoscaling at 3 am
MAX_ROOT = 512_000
MAX_RELEASE = 1_000_000
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DISK = {errno.ENOSPC: "full", errno.EDQUOT: "full", errno.EROFS: "read-only"}


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware, UTC."""


class _Expired(Exception):
    """Signed, and not rolled back, but too old."""


@dataclass(frozen=True, slots=True)
class _Found:
    floors: Floors
    verified: Verified
    release: bytes


class Repository:
    """One group's release document in one cluster's repository."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        clock: Clock,
        state_dir: Path = STATE,
        baked_root: Path = BAKED_ROOT,
        waits: Waits | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._state = TrustState(state_dir)
        self._baked_root = baked_root
        self._waits = waits or Waits()
        self._base = f"{settings.prefix}tuf/"
        self._enrolment = enrolment_of(settings)

    def refresh(self, *, running: bool = False) -> VerifiedRelease:
        """The newest release document, verified; or, for a `running` node only, the one it has, as TrustStale.

        Refused (exit 3) names the attack. Retryable: the store, the disk or another agent; keep what is running.
        """
        try:
            with self._state.locked(self._waits):
                try:
                    return self._remembered(self._verify(self._now()))
                except _Expired as expired:
                    return self._past_expiry(str(expired), running=running)
        except OSError as error:
            return self._without_disk(error, running=running)

    def changed_since(self) -> bool:
        """Whether a refresh could find anything else than the last one did: see agent.poll."""
        return Poll(self._settings, self._store, self._state).changed_since(self._now())

    def kept(self, *, details: str = "") -> VerifiedRelease | None:
        """The last verified release, without asking anybody; None if there is none for this enrolment.

        With `details`, which say why nothing newer was asked for, it is TrustStale.
        """
        known = self._state.verified()
        if known is None or known[0].enrolment != self._enrolment:
            return None
        verified, release = known
        stale = bool(details) or not verified.fresh
        return _released(verified, release, Condition.STALE if stale else Condition.FRESH, details)

    def _remembered(self, found: _Found, condition: Condition = Condition.FRESH, details: str = "") -> VerifiedRelease:
        verified = replace(found.verified, fresh=condition is Condition.FRESH)
        self._state.remember(found.floors, verified, found.release)
        return _released(verified, found.release, condition, details)

    def _past_expiry(self, said: str, *, running: bool) -> VerifiedRelease:
        kept = self.kept(details=f"{said}; this node keeps what it runs, and takes nothing new until a refresh")
        if running and kept is not None:
            return kept
        now = self._now()
        try:
            found = self._verify(now - GRACE)
        except _Expired as error:
            raise attacks.frozen(str(error), days=GRACE.days, now=f"{now:%Y-%m-%dT%H:%MZ}") from error
        details = f"{said}; every signature and version floor holds, so it is good to boot with for {GRACE.days} days"
        return self._remembered(found, Condition.DEGRADED, details)

    def _without_disk(self, error: OSError, *, running: bool) -> VerifiedRelease:
        if error.errno not in _DISK:
            raise Fatal(
                "trust-state-unusable",
                f"the trust state cannot be used: {error}",
                remedy=f"look at {STATE}; it is safe to move it away, user-data's floors remain",
            ) from error
        what = f"the disk is {_DISK[error.errno]} ({error}), so nothing new can be verified"
        kept = self.kept(details=f"{what}; this node keeps what it runs")
        if running and kept is not None:
            return kept
        raise Retryable(
            f"trust-disk-{_DISK[error.errno]}", what, remedy="free space (`df -h`, `df -i`); look at `dmesg`", after=60
        ) from error

    def _now(self) -> datetime:
        return self._state.time_at_least(self._clock.now(), baked_root=self._baked_root)

    def _verify(self, at: datetime) -> _Found:
        try:
            self._state.prepare()
            return self._ask_client(at)
        except OSError as error:
            if error.errno in _DISK:
                raise
            self._state.wipe_cache()  # once; what python-tuf can heal by itself it has healed already
            return self._ask_client(at)

    def _ask_client(self, at: datetime) -> _Found:
        """One whole round of python-tuf, expiry judged by `at`, and then the floors."""
        from tuf.api.exceptions import DownloadError, DownloadHTTPError, ExpiredMetadataError, RepositoryError
        from tuf.ngclient.config import UpdaterConfig
        from tuf.ngclient.updater import Updater

        from agent.aws.fetch import StoreFetcher

        bootstrap = bootstrap_root(
            self._settings,
            baked=read_bounded(self._baked_root, limit=MAX_ROOT),
            cached=self._state.cached_root,
            fetch=self._fetch_root,
        )
        fetcher = StoreFetcher(self._store)
        # Delegations are never followed: the targets role signs every group itself.
        config = UpdaterConfig(max_delegations=0, root_max_length=MAX_ROOT, timestamp_max_length=MAX_TIMESTAMP)
        try:
            updater = Updater(
                str(self._state.metadata), self._metadata(""), fetcher=fetcher, config=config, bootstrap=bootstrap
            )
            trusted: Any = updater._trusted_set  # noqa: SLF001  no public way to set the time (trust.md 1.6)
            trusted.reference_time = at
            try:
                updater.refresh()
            except (RepositoryError, DownloadError) as error:
                if not isinstance(error, DownloadHTTPError):
                    self._require_root(trusted.root.version)  # a hidden root explains whatever went wrong after it
                raise
            return self._accept(updater, trusted, bootstrap, at)
        except ExpiredMetadataError as error:
            raise _Expired(str(error)) from error
        except DownloadHTTPError as error:
            raise fetcher.missing() from error
        except (RepositoryError, DownloadError) as error:
            raise attacks.name_attack(type(error).__name__, str(error), fetcher.seen) from error

    def _accept(self, updater: "Updater", trusted: Any, bootstrap: bytes, at: datetime) -> _Found:
        roles = {"root": trusted.root, "timestamp": trusted.timestamp, "snapshot": trusted.snapshot}
        roles["targets"] = trusted.targets
        found = Floors(
            versions=Versions(**{role: signed.version for role, signed in roles.items()}),
            online_keys=_keys_of(trusted.root, "timestamp", "snapshot"),
            targets_keys=_keys_of(trusted.root, "targets"),
            last_known_time=at,
        )
        known = self._state.floors()
        try:
            self._require_root(found.versions.root)
            require_pin(self._settings, bootstrap=bootstrap, cached=self._state.cached_root)
            require_floors(found, known, targets_version=self._settings.targets_version)
        except Refused:
            self._state.forget_refused()
            raise
        release = self._fetch_release(updater)
        verified = Verified(
            enrolment=self._enrolment,
            release_sha256=hashlib.sha256(release).hexdigest(),
            timestamp_sha256=hashlib.sha256(self._state.cached_timestamp()).hexdigest(),
            versions=found.versions,
            expires=min(signed.expires for signed in roles.values()),
            fresh=True,
        )
        return _Found(known.raised_to(found) if known else found, verified, release)

    def _require_root(self, found: int) -> None:
        floors = self._state.floors()
        required = max(self._settings.root_version, floors.versions.root if floors else 0)
        if found < required:
            raise attacks.root_floor(found, required)

    def _fetch_root(self, version: int) -> bytes:
        key = self._metadata(f"{version}.root.json")
        try:
            return self._store.get(key, max_bytes=MAX_ROOT).body or b""
        except NoSuchKey as error:
            raise attacks.missing(key) from error
        except TooLong as error:
            raise attacks.endless(key, f"{MAX_ROOT} bytes are allowed") from error

    def _fetch_release(self, updater: "Updater") -> bytes:
        """The bytes that targets.json names; from the disk if they are there."""
        group = self._settings.group
        target = updater.get_targetinfo(f"groups/{group}.json")
        if target is None:
            raise attacks.unknown_group(group, self._settings.cluster)
        sha256 = target.hashes.get("sha256", "")
        if not _SHA256.fullmatch(sha256):
            raise attacks.wrong_hash(f"groups/{group}.json", "targets.json names no sha256 of it")
        known = self._state.verified()
        if known is not None and known[0].release_sha256 == sha256:
            return known[1]
        key = f"{self._base}targets/groups/{sha256}.{group}.json"
        try:
            release = self._store.get(key, max_bytes=min(target.length, MAX_RELEASE)).body or b""
        except TooLong as error:
            raise attacks.endless(key, f"{target.length} bytes were signed") from error
        except NoSuchKey as error:
            raise attacks.missing(key) from error
        if len(release) != target.length or hashlib.sha256(release).hexdigest() != sha256:
            raise attacks.wrong_hash(key, "its sha256 differs from the signed one")
        return release

    def _metadata(self, name: str) -> str:
        return f"{self._base}metadata/{name}"


def _released(verified: Verified, release: bytes, condition: Condition, details: str) -> VerifiedRelease:
    return VerifiedRelease(release, asdict(verified.versions), verified.expires, condition, details)


def _keys_of(root: Any, *roles: str) -> str:
    """A digest over the public keys of some roles: it changes exactly when one of them is rotated."""
    keys = {role: sorted(str(root.keys[keyid].keyval) for keyid in root.roles[role].keyids) for role in roles}
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()
