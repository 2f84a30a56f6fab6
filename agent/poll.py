"""The question of every minute: could a refresh find anything that the last one did not?

Two small GETs. No TUF, no pydantic, nothing written: bytes equal to a timestamp that was verified, and has not
expired, need no second verification.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agent.aws.s3 import Store
from agent.aws.s3_errors import AccessDenied, NoSuchKey, TooLong
from agent.trust import Verified
from agent.trust_state import TrustState

MAX_TIMESTAMP = 16_384


class Enrolled(Protocol):
    """The part of `agent.settings.Settings` that a poll needs."""

    @property
    def store(self) -> str: ...
    @property
    def cluster(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def prefix(self) -> str: ...
    @property
    def root_version(self) -> int: ...
    @property
    def targets_version(self) -> int: ...


def enrolment_of(settings: Enrolled) -> str:
    """Whose release a record of trust is about."""
    return f"{settings.store} {settings.cluster} {settings.group}"


@dataclass(frozen=True, slots=True)
class Poll:
    settings: Enrolled
    store: Store
    state: TrustState

    def changed_since(self, now: datetime) -> bool:
        """True also when this machine has nothing to compare with. Raises what the store raises."""
        known = self.state.verified()
        if known is None or not self._still_good(known[0], now):
            return True
        verified, metadata = known[0], f"{self.settings.prefix}tuf/metadata/"
        try:
            self.store.get(f"{metadata}{verified.versions.root + 1}.root.json", max_bytes=0)
        except (NoSuchKey, AccessDenied):  # without s3:ListBucket, S3 says 403 of what is not there
            timestamp = self.store.get(f"{metadata}timestamp.json", max_bytes=MAX_TIMESTAMP).body or b""
            return hashlib.sha256(timestamp).hexdigest() != verified.timestamp_sha256
        except TooLong:
            return True
        return True

    def _still_good(self, verified: Verified, now: datetime) -> bool:
        return (
            verified.fresh
            and verified.enrolment == enrolment_of(self.settings)
            and verified.versions.root >= self.settings.root_version
            and verified.versions.targets >= self.settings.targets_version
            and now < verified.expires
        )
