"""Names for what can be wrong with a signed repository, in words that tell an operator what somebody may be doing.

Pure: the TUF client's exceptions arrive here by the name of their class (trust.md 1.2 has the attacks one by one).
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from units.errors import Refused, Retryable

_VERSIONED = re.compile(r"^(\d+)\.([a-z]+)\.json$")
_WHO = "find out who can write to the bucket; restore the newest genuine versions of the objects"


@dataclass(frozen=True, slots=True)
class Seen:
    """The last thing the TUF client fetched before it refused: its name in the repository, and its bytes."""

    file: str
    content: bytes = field(repr=False, default=b"")

    @property
    def named_version(self) -> int | None:
        """7 for `7.snapshot.json`."""
        match = _VERSIONED.match(self.file.rpartition("/")[2])
        return int(match[1]) if match else None

    @property
    def claimed_version(self) -> int | None:
        """What the content says of itself; it may lie, so this only helps to name what happened."""
        try:
            version = json.loads(self.content)["signed"]["version"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return version if isinstance(version, int) else None

    @property
    def swapped(self) -> bool:
        """One version's content under another version's name."""
        return None not in (self.named_version, self.claimed_version) and self.named_version != self.claimed_version


def name_attack(kind: str, said: str, seen: Seen) -> Refused:
    """`kind` is the class of the TUF client's exception, `said` its text. Every one of them fails closed."""
    if kind in _BY_KIND and (kind not in _ORDER or not seen.swapped):
        return _BY_KIND[kind](seen.file, said)
    return _mixed(seen, said) if seen.swapped else _broken(seen.file, said)


def unsigned(file: str, said: str) -> Refused:
    return Refused(
        "trust-unsigned",
        f"{file} is not signed by the keys that this node trusts ({said}): it was changed or forged",
        remedy=_WHO,
    )


def rollback(file: str, said: str) -> Refused:
    return Refused(
        "trust-rollback",
        f"{file} is genuine but older than what this node must accept at least ({said}): "
        "somebody put an old state of the repository back",
        remedy=_WHO,
    )


def wrong_hash(file: str, said: str) -> Refused:
    return Refused(
        "trust-wrong-hash", f"{file} is not the content that was signed ({said}): it was changed", remedy=_WHO
    )


def endless(file: str, said: str) -> Refused:
    return Refused(
        "trust-endless",
        f"{file} is longer than it may be ({said}): an endless-data attack, or a wrong object",
        remedy=_WHO,
    )


def root_floor(found: int, required: int) -> Refused:
    return Refused(
        "trust-root-floor",
        f"the newest root to be found is version {found}, but version {required} exists: somebody hides it, "
        "perhaps to go on using keys that it revokes",
        remedy=f"restore {found + 1}.root.json to {required}.root.json in tuf/metadata/",
    )


def root_pin(version: int, found: str, pinned: str) -> Refused:
    return Refused(
        "trust-root-pin",
        f"{version}.root.json has sha256 {found[:16]}..., but this node is enrolled with {pinned[:16]}...: "
        "it is another repository's root, or a forged one",
        remedy="compare both with `coordinator trust status`; then correct the user-data or restore the root",
    )


def frozen(said: str, *, days: int, now: str) -> Refused:
    return Refused(
        "trust-freeze-expired",
        f"{said}, more than {days} days ago by this node's clock ({now}): nobody has refreshed the signatures, or "
        "somebody holds newer ones back (a freeze attack)",
        remedy="run `coordinator refresh`; if it was refreshed, find out who serves old objects; check the clock",
    )


def missing(key: str) -> Retryable:
    if key.endswith("/timestamp.json"):
        return Retryable(
            "trust-not-published",
            f"{key} does not exist: nothing has been published there yet, or somebody deleted it",
            remedy="check store and cluster in the user-data; publish with `coordinator publish`",
            after=30,
        )
    return Retryable(
        "trust-object-missing",
        f"{key} does not exist, though signed metadata or user-data names it: somebody deleted it",
        remedy="restore it in S3 (versioning keeps it), or publish again",
        after=30,
    )


def unknown_group(group: str, cluster: str) -> Retryable:
    return Retryable(
        "trust-group-unknown",
        f"the signed repository of cluster {cluster!r} holds no release for group {group!r}",
        remedy="check `group` in the user-data against `coordinator history`; publish the group",
        after=30,
    )


def _mixed(seen: Seen, said: str) -> Refused:
    return Refused(
        "trust-mix-and-match",
        f"{seen.file} holds version {seen.claimed_version}, not {seen.named_version} ({said}): "
        "somebody combines files of different repository states",
        remedy=_WHO,
    )


def _damaged(file: str, said: str) -> Refused:
    return Refused("trust-damaged", f"{file} is not TUF metadata any more ({said}): it was changed", remedy=_WHO)


def _broken(file: str, said: str) -> Refused:
    return Refused("trust-refused", f"{file} breaks a rule of the signed repository ({said})", remedy=_WHO)


_BY_KIND: Mapping[str, Callable[[str, str], Refused]] = {
    "UnsignedMetadataError": unsigned,
    "DownloadLengthMismatchError": endless,
    "DeserializationError": _damaged,
    "BadVersionNumberError": rollback,
    "LengthOrHashMismatchError": wrong_hash,
}
_ORDER = frozenset({"BadVersionNumberError", "LengthOrHashMismatchError"})  # what a swapped file shows as
