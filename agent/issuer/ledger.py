"""Who has which identity: one record in S3 for each instance, changed by compare-and-swap only (N17, N22).

The first key wins, whichever issuer it comes to: If-None-Match lets S3 decide, never a read before a write.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from agent.issuer.codes import later, refused
from units.errors import BootwrightError
from units.host import Records
from units.issuer_config import IssuerConfig

PREFIX = "identity/"


class Entry(BaseModel):
    """`keys`: hex SHA-256 of public keys, the newest last. `open`: an operator lets the next key claim it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1
    instance: str
    node: str
    group: str
    keys: tuple[str, ...]
    open: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    entry: Entry | None  # None: unreadable
    etag: str


class Ledger:
    """For one thread. Every trouble of the store is Retryable `ledger-unreachable`."""

    def __init__(self, config: IssuerConfig, records: Records) -> None:
        self._prefix = prefix_of(config)
        self._records = records

    def read(self, instance_id: str) -> Found | None:
        try:
            record = self._records.get(self._key(instance_id))
        except BootwrightError as error:
            raise _unreachable(error) from error
        if record is None:
            return None
        try:
            entry = Entry.model_validate_json(record.content)
        except ValidationError:
            return Found(None, record.etag)
        return Found(entry if entry.instance == instance_id else None, record.etag)

    def create(self, entry: Entry) -> bool:
        """False if somebody else was first."""
        try:
            return self._records.create(self._key(entry.instance), _encode(entry))
        except BootwrightError as error:
            raise _unreachable(error) from error

    def replace(self, entry: Entry, found: Found) -> bool:
        """False if it changed since it was `found`."""
        try:
            return self._records.replace(self._key(entry.instance), _encode(entry), found.etag)
        except BootwrightError as error:
            raise _unreachable(error) from error

    def reset(self, instance_id: str) -> None:
        """The next key of this instance claims it, whatever its age, and whether its Node is Ready or not."""
        for _ in range(5):
            found = self.read(instance_id)
            known = found.entry if found else None
            entry = known or Entry(instance=instance_id, node="", group="", keys=())
            entry = entry.model_copy(update={"open": True})
            if self.replace(entry, found) if found else self.create(entry):
                return
        raise later("ledger-contended", f"the record of {instance_id} changes again and again")

    def _key(self, instance_id: str) -> str:
        return f"{self._prefix}{instance_id}.json"


def prefix_of(config: IssuerConfig) -> str:
    """Account and region too: an instance id alone names nothing (CVE-2025-11621)."""
    return f"{PREFIX}{config.account}/{config.region}/"


def readable(found: Found) -> Entry:
    if found.entry is None:
        raise refused("identity-record-invalid", "the machine's record in the ledger is not readable")
    return found.entry


def _encode(entry: Entry) -> bytes:
    return (entry.model_dump_json() + "\n").encode()


def _unreachable(error: BootwrightError) -> BootwrightError:
    return later("ledger-unreachable", f"the ledger in S3: {error}", after=10)
