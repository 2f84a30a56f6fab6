"""A new generation from a backup: what a member's own machine does when the record says `restore`. Pure.

`coordinator etcd restore` rewrites the bootstrap record: a higher generation, a new token, the backup's name and
sha256. Every member then takes the same file, so that their logs begin alike, puts its old data aside, and starts. A
quorum of the new generation decides from there on; members of two generations never talk to each other.

Which generation data belongs to is written inside the data (`member/.generation`), so that one rename switches both.
Data without it is as old as the volume's last attempt to start (`.bootstrap.json`, units.membership).
"""

import json
from dataclasses import dataclass
from typing import Protocol

from units.bootstrap_record import BootstrapRecord, RestoreFrom
from units.errors import Fatal, Refused
from units.etcd_room import VolumeRoom

DATA = "data"
MARK = "member/.generation"  # etcd looks only at member/snap and member/wal


@dataclass(frozen=True, slots=True)
class OnVolume:
    """What lies on a member's volume."""

    names: frozenset[str]  # of its top directory
    has_data: bool  # `data` holds a write-ahead log
    data_generation: int | None = None  # of the mark inside `data`
    attempted_generation: int | None = None  # of .bootstrap.json
    occupied: bool = False  # something lies in `data`: with no log in it, what etcd makes before it begins one

    @property
    def generation(self) -> int:
        """0 for a volume that never took part."""
        known = [found for found in (self.data_generation, self.attempted_generation) if found is not None]
        return max(known) if known else int(self.has_data)


@dataclass(frozen=True, slots=True)
class UpToDate:
    """Nothing to restore here."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Download the backup, prove it, make a data directory of it under `folder`; whole or not there."""

    backup: RestoreFrom
    folder: str
    stale: tuple[str, ...]  # of restores that were overtaken by a newer one


@dataclass(frozen=True, slots=True)
class SetAside:
    """Rename the old data to a name that is free."""

    folder: str


@dataclass(frozen=True, slots=True)
class PutInPlace:
    """Rename the new data to `data`, over the empty directory that may be there."""

    folder: str


Step = UpToDate | Fetch | SetAside | PutInPlace


def next_step(record: BootstrapRecord | None, member: str, on: OnVolume) -> Step:
    """Made anew after every step, so that a power cut between two of them changes nothing.

    A blank volume is filled only while the generation begins (`restoring`): once a quorum of it stands, an empty member
    joins as any other (units.etcd_rejoin). Refused for old data of a member that has been ready in this generation:
    two volumes claim to be it.
    """
    if record is None or record.restore is None:
        return UpToDate()
    # While a generation begins, a trace of an attempt without data is no reason to begin it empty.
    counts = on.has_data or record.state == "established"
    if counts and on.generation >= record.generation:
        return UpToDate()
    folder = _new(record.generation)
    if record.state == "established":
        took_part = member in record.started or record.replacing == member
        if not on.has_data and (took_part or folder not in on.names):
            return UpToDate()
        if took_part:
            raise Refused(
                "etcd-volume-outdated",
                f"the data on this volume is of generation {on.generation}, but member {member!r} has been ready in "
                f"generation {record.generation} already",
                remedy="another volume holds this member's data: attach that one, and detach or delete this one",
            )
    if folder not in on.names:
        stale = tuple(sorted(name for name in on.names if name.startswith("restored.g")))
        return Fetch(record.restore, folder, stale)
    if on.has_data or on.occupied:
        return SetAside(_free(f"{DATA}.g{on.generation}", on.names))
    return PutInPlace(folder)


def mark_of(record: BootstrapRecord) -> bytes:
    return (json.dumps({"generation": record.generation, "token": record.token}, sort_keys=True) + "\n").encode()


def read_mark(content: bytes | None) -> int | None:
    """The generation of a mark or of .bootstrap.json; None for what is unreadable."""
    try:
        found = json.loads(content or b"")["generation"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, int) else None


@dataclass(frozen=True, slots=True)
class Identity:
    """What the restored data is told: who this member is, and who belongs to the generation."""

    member: str
    peer_url: str
    initial_cluster: str  # a=URL,b=URL: the same on every member


class EtcdStorage(Protocol):
    """A member's volume and its own etcd, as a restore needs them (`Host.etcd_storage`). Paths are absolute."""

    def make_data(
        self, etcd: str, backup: RestoreFrom, identity: Identity, token: str, *, mark: bytes, to: str
    ) -> None:
        """A directory `to`, owned by etcd, durable, with `mark` at MARK inside; it appears by its last step.

        Fatal `etcd-backup-damaged` or `etcd-snapshot-damaged` if what came is not what the record promises;
        Retryable `etcd-no-room`.
        """

    def rename(self, old: str, new: str) -> None:
        """A directory, durably; over an empty one, if there is one."""

    def discard(self, path: str) -> None:
        """A directory of ours and all in it."""

    def generation_key(self, etcd: str, client_urls: tuple[str, ...]) -> str | None:
        """The token that the cluster itself holds, read with a quorum behind it; None if it holds none.

        The first URL that answers is asked. Retryable if none does, or there is no quorum.
        """

    def write_generation_key(self, etcd: str, client_urls: tuple[str, ...], before: str | None, token: str) -> bool:
        """Only over `before`. False if somebody else was first."""

    def room(self, path: str) -> VolumeRoom | None:
        """Of the volume that is mounted there; None if none is."""

    def make_room(self, etcd: str, path: str) -> None:
        """What `units.etcd_room.next_step` says without the bucket, until it says nothing; written down."""


class NoEtcdStorage:
    """What a machine without etcd has for `EtcdStorage`."""

    def make_data(
        self, etcd: str, backup: RestoreFrom, identity: Identity, token: str, *, mark: bytes, to: str
    ) -> None:
        raise self._refusal(etcd, backup, identity, token, mark, to)

    def rename(self, old: str, new: str) -> None:
        raise self._refusal(old, new)

    def discard(self, path: str) -> None:
        raise self._refusal(path)

    def generation_key(self, etcd: str, client_urls: tuple[str, ...]) -> str | None:
        raise self._refusal(etcd, client_urls)

    def write_generation_key(self, etcd: str, client_urls: tuple[str, ...], before: str | None, token: str) -> bool:
        raise self._refusal(etcd, client_urls, before, token)

    def room(self, path: str) -> VolumeRoom | None:
        raise self._refusal(path)

    def make_room(self, etcd: str, path: str) -> None:
        raise self._refusal(etcd, path)

    def _refusal(self, about: str, *_asked: object) -> Fatal:
        return Fatal("no-etcd", f"this machine has no etcd ({about})")


def _new(generation: int) -> str:
    return f"restored.g{generation}"


def _free(name: str, taken: frozenset[str]) -> str:
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}.{number}"
    return candidate
