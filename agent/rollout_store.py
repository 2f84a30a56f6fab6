"""What a node asks the store about a rollout, and what it leaves there: one LIST each, so IAM can tell absence.

The objects are unsigned. A halt object can only stop, and a marker can only use up a budget; neither brings anything
onto a node.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from agent.aws.s3_errors import TooLong
from agent.aws.s3_listing import Listed
from units.errors import BootwrightError

MOST_FAILURES = 1000


class Lists(Protocol):
    """The part of `agent.aws.s3.S3` that this needs."""

    def list(self, prefix: str, *, most: int) -> tuple[Listed, ...]: ...
    def put(self, key: str, body: bytes, *, if_match: str | None = None, if_none_match: str | None = None) -> str: ...


@dataclass(frozen=True, slots=True)
class RolloutStore:
    """`prefix` is the cluster's in the bucket, with its slash."""

    store: Lists
    prefix: str
    group: str

    def halted(self) -> bool:
        """Whether `halt/GROUP` is there. A store that cannot be asked may hold one: True."""
        key = f"{self.prefix}halt/{self.group}"
        try:
            return any(found.key == key for found in self.store.list(key, most=MOST_FAILURES))
        except BootwrightError:
            return True

    def failures(self, serial: int) -> int | None:
        """How many machines failed in the rollout that began with this serial; None if nobody can say."""
        try:
            return len(self.store.list(self._folder(serial, "failed"), most=MOST_FAILURES))
        except TooLong:
            return MOST_FAILURES + 1
        except BootwrightError:
            return None

    def mark(self, serial: int, outcome: Literal["ok", "failed"], instance_id: str) -> None:
        """Zero bytes under this machine's name; to write it again changes nothing."""
        self.store.put(self._folder(serial, outcome) + instance_id, b"")

    def _folder(self, serial: int, outcome: str) -> str:
        return f"{self.prefix}outcome/{self.group}/{serial}/{outcome}/"
