"""The values of trust: how far a repository was seen to have come, and a release that was verified against it. Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from agent import attacks

Kind = TypeVar("Kind")

# Dataclasses and json, not pydantic: a no-change poll reads these records, and would pay 50 ms for the import.


@dataclass(frozen=True, slots=True)
class Versions:
    root: int
    timestamp: int
    snapshot: int
    targets: int


@dataclass(frozen=True, slots=True)
class Floors:
    """Versions that must never be seen lower again, and the keys under which they were seen.

    New keys start a new count (TUF specification 5.3.11): otherwise a thief who once signed version 2^31 could lock
    the cluster out even after his key was revoked.
    """

    versions: Versions
    online_keys: str  # digest over the keys of timestamp and snapshot, which count together
    targets_keys: str
    last_known_time: datetime

    def in_force_under(self, other: "Floors") -> Versions:
        """These floors, as far as they bind a repository state that was verified with `other`'s keys."""
        online = self.online_keys == other.online_keys
        return Versions(
            root=self.versions.root,
            timestamp=self.versions.timestamp if online else 0,
            snapshot=self.versions.snapshot if online else 0,
            targets=self.versions.targets if self.targets_keys == other.targets_keys else 0,
        )

    def raised_to(self, other: "Floors") -> "Floors":
        floor = self.in_force_under(other)
        return replace(
            other,
            versions=Versions(
                root=max(floor.root, other.versions.root),
                timestamp=max(floor.timestamp, other.versions.timestamp),
                snapshot=max(floor.snapshot, other.versions.snapshot),
                targets=max(floor.targets, other.versions.targets),
            ),
            last_known_time=max(self.last_known_time, other.last_known_time),
        )


@dataclass(frozen=True, slots=True)
class Verified:
    """What the kept release was verified with. `fresh` is false for one that was tolerated past its expiry."""

    enrolment: str  # store, cluster and group: of nobody else's release is this a record
    release_sha256: str
    timestamp_sha256: str
    versions: Versions
    expires: datetime  # the earliest of the four
    fresh: bool


class Condition(StrEnum):
    FRESH = "Fresh"
    DEGRADED = "TrustDegraded"  # past expiry, but every signature and floor holds: good enough to boot with
    STALE = "TrustStale"  # what was verified before; nothing newer could be


@dataclass(frozen=True, slots=True)
class VerifiedRelease:
    """The bytes of groups/GROUP.json, proven. `details` says why when `condition` is not Fresh."""

    release: bytes = field(repr=False)
    versions: Mapping[str, int]
    expires: datetime  # the earliest of the metadata
    condition: Condition = Condition.FRESH
    details: str = ""


def require_floors(found: Floors, known: Floors | None, *, targets_version: int) -> None:
    """Refused `trust-rollback` for anything below what this node saw before, or below what user-data demands."""
    floor = known.in_force_under(found) if known else Versions(root=0, timestamp=0, snapshot=0, targets=0)
    if found.versions.targets < targets_version:
        raise attacks.rollback(
            "targets.json", f"version {found.versions.targets}, but user-data demands at least {targets_version}"
        )
    for role in ("timestamp", "snapshot", "targets"):
        seen, least = getattr(found.versions, role), getattr(floor, role)
        if seen < least:
            raise attacks.rollback(f"{role}.json", f"version {seen}, but this node has seen {least}")


def encode(record: Floors | Verified) -> bytes:
    return (json.dumps(asdict(record), indent=1, sort_keys=True, default=datetime.isoformat) + "\n").encode()


def decode_floors(data: bytes) -> Floors:
    """ValueError for anything that `encode` did not write."""
    document = _document(data)
    return Floors(
        versions=_versions(document),
        online_keys=_of(str, document, "online_keys"),
        targets_keys=_of(str, document, "targets_keys"),
        last_known_time=_time(document, "last_known_time"),
    )


def decode_verified(data: bytes) -> Verified:
    """ValueError for anything that `encode` did not write."""
    document = _document(data)
    return Verified(
        enrolment=_of(str, document, "enrolment"),
        release_sha256=_of(str, document, "release_sha256"),
        timestamp_sha256=_of(str, document, "timestamp_sha256"),
        versions=_versions(document),
        expires=_time(document, "expires"),
        fresh=_of(bool, document, "fresh"),
    )


def _document(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004  every damage is a ValueError to the caller
    return document


def _of(kind: type[Kind], document: dict[str, Any], name: str) -> Kind:
    value = document.get(name)
    if type(value) is not kind:
        raise ValueError(f"{name} is not a {kind.__name__}")
    return value


def _versions(document: dict[str, Any]) -> Versions:
    found = _of(dict, document, "versions")
    return Versions(**{role: _of(int, found, role) for role in ("root", "timestamp", "snapshot", "targets")})


def _time(document: dict[str, Any], name: str) -> datetime:
    time = datetime.fromisoformat(_of(str, document, name))
    if time.tzinfo is None:
        raise ValueError(f"{name} has no time zone")
    return time
