"""What a machine keeps of the manifests it applied: the current one, the one before, and what it is in the middle of.

/var/lib/bootwright/generations/DIGEST.json     whole manifests, by their digest
/var/lib/bootwright/generations/current.json    which one was committed last
/var/lib/bootwright/journal.json                an apply that has begun and not ended
/var/lib/bootwright/quarantine.json             manifests that failed on this machine, and why
/var/lib/bootwright/cordoned.json               this agent cordoned its Node, and owes it the contrary
"""

from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from units.errors import Retryable
from units.host import Files
from units.manifest import Manifest, Sha256, manifest_digest

STATE = "/var/lib/bootwright"
GENERATIONS = f"{STATE}/generations"
CURRENT = f"{GENERATIONS}/current.json"
JOURNAL = f"{STATE}/journal.json"
QUARANTINE = f"{STATE}/quarantine.json"
CORDONED = f"{STATE}/cordoned.json"


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Current(_Kept):
    digest: Sha256
    previous: Sha256 | None = None


class Journal(_Kept):
    """Written before the first change, so that a power cut in the middle is known at the next boot."""

    target: Sha256
    previous: Sha256 | None
    phase: Literal["applying", "undoing"] = "applying"
    attempts: int = 1  # runs that were cut off or had to wait; a reboot that was asked for is none
    others: tuple[Sha256, ...] = ()  # targets that were begun and not ended before this one
    well_before: tuple[str, ...] = ()  # health checks that passed before the first change
    reason: str = ""  # why it is being undone
    drained: bool = False  # nothing of the scheduler's runs here any more
    reboot: Literal["none", "there", "back"] = "none"  # asked for: into the target, or back into what was before


class Failed(_Kept):
    at: str
    reason: str
    code: str = "manifest-undone"  # any other: it was refused before anything was changed


class Cordoned(_Kept):
    target: Sha256


class Quarantine(_Kept):
    failed: dict[Sha256, Failed] = {}


Model = TypeVar("Model", bound=_Kept)


class Generations:
    """Reads and writes through the machine's files: whole and durable. What cannot be read counts as not there."""

    def __init__(self, files: Files) -> None:
        self._files = files

    @property
    def current(self) -> Manifest | None:
        current = self._read(CURRENT, Current)
        return None if current is None else self.manifest(current.digest)

    @property
    def current_digest(self) -> str:
        """Empty before the first."""
        return "" if (current := self.current) is None else manifest_digest(current)

    @property
    def journal(self) -> Journal | None:
        return self._read(JOURNAL, Journal)

    @property
    def quarantine(self) -> dict[str, Failed]:
        found = self._read(QUARANTINE, Quarantine)
        return {} if found is None else dict(found.failed)

    def manifest(self, digest: str | None) -> Manifest | None:
        if digest is None:
            return None
        state = self._files.read(_path(digest))
        if state is None or state.content is None:
            return None
        try:
            manifest = Manifest.model_validate_json(state.content)
        except ValidationError:
            return None
        return manifest if manifest_digest(manifest) == digest else None

    def keep(self, manifest: Manifest) -> str:
        """The manifest, under its digest."""
        digest = manifest_digest(manifest)
        if self.manifest(digest) is None:
            self._files.sweep(GENERATIONS)  # of one that the power cut off, and that nobody asks for again
            self._write(_path(digest), manifest.model_dump_json(indent=1))
        return digest

    def write_journal(self, journal: Journal) -> None:
        if self.journal != journal:
            self._write(JOURNAL, journal.model_dump_json())

    def close_journal(self) -> None:
        self._files.remove(JOURNAL)

    def commit(self, digest: str) -> None:
        """The machine runs this one now; of the others only the one before stays."""
        before = self._read(CURRENT, Current)
        if before is None or before.digest != digest:
            current = Current(digest=digest, previous=before.digest if before else None)
            self._write(CURRENT, current.model_dump_json())
            self._prune(current)

    def condemn(self, digest: str, *, at: str, reason: str, code: str) -> None:
        failed = {**self.quarantine, digest: Failed(at=at, reason=reason[:1000], code=code)}
        # The newest 20: a machine that lives for years must not keep every failure.
        kept = dict(sorted(failed.items(), key=lambda item: item[1].at)[-20:])
        self._write(QUARANTINE, Quarantine(failed=kept).model_dump_json())

    @property
    def cordoned(self) -> bool:
        """Whether this agent cordoned its Node and has not uncordoned it since."""
        return self._read(CORDONED, Cordoned) is not None

    def note_cordon(self, target: str) -> None:
        self._write(CORDONED, Cordoned(target=target).model_dump_json())

    def forget_cordon(self) -> None:
        self._files.remove(CORDONED)

    def _prune(self, current: Current) -> None:
        kept = {CURRENT, _path(current.digest), _path(current.previous or current.digest)}
        for name in self._files.list(GENERATIONS):
            if (path := f"{GENERATIONS}/{name}") not in kept:
                self._files.remove(path)

    def _read(self, path: str, model: type[Model]) -> Model | None:
        state = self._files.read(path)
        if state is None or state.content is None:
            return None
        try:
            return model.model_validate_json(state.content)
        except ValidationError:
            return None

    def _write(self, path: str, text: str) -> None:
        self._files.write(path, f"{text}\n".encode(), mode=0o600, owner="root", group="root")


def running_manifest(kept: Generations) -> Manifest:
    """The current one; Retryable `not-booted` before the first was committed."""
    manifest = kept.current
    if manifest is None:
        raise Retryable("not-booted", "this machine has not come up yet", remedy="`agent status` tells why")
    return manifest


def _path(digest: str) -> str:
    return f"{GENERATIONS}/{digest}.json"
