"""The values of trust: how far a repository was seen to have come, and a release that was verified against it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from agent import attacks


class TrustRecord(BaseModel):
    """Base of what is kept on disk between boots."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Versions(TrustRecord):
    root: int = Field(ge=0)
    timestamp: int = Field(ge=0)
    snapshot: int = Field(ge=0)
    targets: int = Field(ge=0)


class Floors(TrustRecord):
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
        return other.model_copy(
            update={
                "versions": Versions(
                    root=max(floor.root, other.versions.root),
                    timestamp=max(floor.timestamp, other.versions.timestamp),
                    snapshot=max(floor.snapshot, other.versions.snapshot),
                    targets=max(floor.targets, other.versions.targets),
                ),
                "last_known_time": max(self.last_known_time, other.last_known_time),
            }
        )


class Verified(TrustRecord):
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
