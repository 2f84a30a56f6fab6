"""The repository's verified state as a value, and what a commit leaves in it for the next one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from coordinator.layout import GROUPS
from coordinator.tuf_api import Root, Snapshot, TargetFile, Targets, Timestamp
from units.manifest import Release, manifest_digest

NOTE_FIELD: Final = "x-bootwright"


class Lifetimes(BaseModel):
    """Days until each role's metadata expires (DESIGN section 4). Carried along by commits that know no spec."""

    model_config = ConfigDict(frozen=True)

    root: int = 365
    targets: int = 365
    snapshot: int = 365
    timestamp: int = 14

    def until(self, role: str, now: datetime) -> datetime:
        days: int = getattr(self, role)
        return now.replace(microsecond=0) + timedelta(days=days)


class Previous(BaseModel):
    """The targets metadata that a commit replaced. The hash makes the whole history as authentic as its head."""

    model_config = ConfigDict(frozen=True)

    version: int = Field(gt=0)
    sha256: str


class Note(BaseModel):
    """Signed inside every targets metadata: who did what, and the state that lives from commit to commit."""

    model_config = ConfigDict(frozen=True)

    serial: int = 0  # the highest ever given to a release; the next publish takes the next one
    at: str  # RFC 3339, UTC
    by: str
    what: str
    previous: Previous | None = None
    lifetimes: Lifetimes = Lifetimes()


@dataclass(frozen=True, slots=True)
class PublishedGroup:
    """A group's entry in the signed targets: enough to see a change without fetching the release document."""

    name: str
    serial: int
    manifest_sha256: str  # of the stable manifest
    published: str
    target: TargetFile
    candidate_sha256: str = ""  # of the manifest that a rollout brings; empty without one

    @classmethod
    def from_target(cls, path: str, target: TargetFile) -> Self:
        custom: dict[str, Any] = target.custom or {}
        return cls(
            name=path.removeprefix(GROUPS).removesuffix(".json"),
            serial=int(custom.get("serial", 0)),
            manifest_sha256=str(custom.get("manifest", "")),
            published=str(custom.get("published", "")),
            target=target,
            candidate_sha256=str(custom.get("candidate", "")),
        )

    @property
    def wanted_sha256(self) -> str:
        """Of the manifest that was published last, whether its nodes run it yet or not."""
        return self.candidate_sha256 or self.manifest_sha256

    @staticmethod
    def custom(serial: int, manifest_sha256: str, published: str, candidate_sha256: str = "") -> dict[str, Any]:
        plain = {"serial": serial, "manifest": manifest_sha256, "published": published}
        return plain | ({"candidate": candidate_sha256} if candidate_sha256 else {})

    @classmethod
    def custom_of(cls, release: Release) -> dict[str, Any]:
        candidate = "" if release.candidate is None else manifest_digest(release.candidate)
        return cls.custom(release.serial, manifest_digest(release.stable), release.published, candidate)


@dataclass(frozen=True, slots=True)
class State:
    """Every signature, version and hash in it was checked by python-tuf's client; expiry is told apart."""

    root: Root
    root_bytes: bytes = field(repr=False)
    timestamp: Timestamp
    timestamp_etag: str
    snapshot: Snapshot
    targets: Targets
    targets_sha256: str

    @property
    def note(self) -> Note:
        return note_of(self.targets)

    @property
    def groups(self) -> Mapping[str, PublishedGroup]:
        return groups_of(self.targets)

    def expired(self, now: datetime) -> tuple[str, ...]:
        """Names of the roles whose metadata has expired; nodes would refuse it."""
        return tuple(role for role, days in self.days_left(now).items() if days < 0)

    def days_left(self, now: datetime) -> Mapping[str, int]:
        signed = (self.root, self.targets, self.snapshot, self.timestamp)
        return {each.type: (each.expires - now).days for each in signed}

    @property
    def versions(self) -> Mapping[str, int]:
        signed = (self.root, self.targets, self.snapshot, self.timestamp)
        return {each.type: each.version for each in signed}


def note_of(targets: Targets) -> Note:
    return Note.model_validate(targets.unrecognized_fields[NOTE_FIELD])


def groups_of(targets: Targets) -> Mapping[str, PublishedGroup]:
    return {
        (group := PublishedGroup.from_target(path, target)).name: group
        for path, target in sorted(targets.targets.items())
        if path.startswith(GROUPS)
    }
