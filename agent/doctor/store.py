"""The bucket, and what is signed in it: one GET of timestamp.json, then a whole verification beside the real state."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agent import attacks
from agent.aws.http import Timeouts
from agent.aws.s3 import S3, Bucket
from agent.aws.s3_errors import NoSuchKey
from agent.doctor.case import Case
from agent.doctor.finding import Finding, failed, ok, skipped, warn
from agent.doctor.patient import OneTry
from agent.poll import MAX_TIMESTAMP
from agent.repository import Repository
from agent.settings import Settings
from agent.trust import Condition
from agent.trust_state import BAKED_ROOT, STATE, TrustState
from units.manifest import decode_release

_TIMEOUTS = Timeouts(connect=2.0, read=3.0, total=5.0)
_MEMORY = Path("/dev/shm")  # noqa: S108  memory: a full disk must not hide what is wrong with the trust


def store(case: Case) -> Finding:
    """Denied, missing, elsewhere and unreachable are told apart by the agent's own client."""
    if case.settings is None or case.learned.credentials is None:
        return skipped("not enrolled yet")
    key = f"{case.settings.prefix}tuf/metadata/timestamp.json"
    try:
        size = len(client(case, case.settings).get(key, max_bytes=MAX_TIMESTAMP).body or b"")
    except NoSuchKey:
        return failed(attacks.missing(key))
    return ok(f"s3://{case.settings.bucket}/{key} is there, {size} bytes")


def client(case: Case, settings: Settings) -> S3:
    credentials = case.learned.credentials
    assert credentials is not None
    bucket = Bucket(settings.bucket, settings.region or case.region, settings.endpoint)
    return S3(bucket, lambda: credentials, waits=OneTry(), timeouts=_TIMEOUTS)


@dataclass(frozen=True, slots=True)
class _Now:
    at: datetime

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0

    def wait(self, seconds: float, reason: str) -> None:
        """Never asked: nothing is waited for here."""


def trust(case: Case) -> Finding:
    """A verification as at boot, with this machine's floors, on a copy: the doctor must not move what it looks at."""
    settings, patient = case.settings, case.patient
    if settings is None:
        return skipped("not enrolled yet")
    state = patient.path(STATE)
    with _copied(state) as scratch:
        repository = Repository(
            settings,
            client(case, settings),
            clock=_Now(patient.now()),
            state_dir=scratch,
            baked_root=patient.path(BAKED_ROOT),
            waits=OneTry(),
        )
        verified = repository.refresh()
        release = decode_release(verified.release, cluster=settings.cluster, group=settings.group)
    case.learned.manifest = case.learned.manifest or release.stable
    versions = ", ".join(f"{role} v{version}" for role, version in verified.versions.items())
    told = f"serial {release.serial} of group {settings.group}, published {release.published}; {versions}"
    if verified.condition is not Condition.FRESH:
        return warn(f"{verified.details}; {told}", "coordinator refresh", verified.condition)
    return ok(f"{told}; fresh until {verified.expires:%Y-%m-%d %H:%M}")


def trust_state(case: Case) -> Finding:
    """What lies on the disk: floors, and the release that was verified last. Told without any network."""
    patient = case.patient
    state = TrustState(patient.path(STATE))
    if not patient.path(STATE).is_dir():
        return skipped("nothing was verified on this machine yet")
    floors, verified = state.floors(), state.verified()
    if floors is None:
        return warn(
            "the version floors are gone: only those of user-data protect against old metadata",
            "agent boot: a verification writes them again; find out who removed them",
            "trust-floors-missing",
        )
    told = f"floors: root {floors.versions.root}, targets {floors.versions.targets}"
    if verified is None:
        return warn(f"{told}; no verified release is kept", "agent boot", "trust-release-missing")
    expires, now = verified[0].expires, patient.now()
    if expires < now:
        days = (now - expires).days
        return warn(f"{told}; the kept release expired {days} d ago", "coordinator refresh; agent sync", "TrustStale")
    return ok(f"{told}; the kept release is good until {expires:%Y-%m-%d %H:%M}")


@contextmanager
def _copied(state: Path) -> Iterator[Path]:
    """In memory, because a full disk is one of the things that may be wrong."""
    where = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="bootwright-doctor-", dir=where) as folder:
        scratch = Path(folder) / "trust"
        if state.is_dir():
            shutil.copytree(state, scratch, ignore=shutil.ignore_patterns("*.tmp*"))
        else:
            scratch.mkdir(mode=0o700)
        yield scratch
