"""What of a node's certificates a person should know about before it ends. Pure; the node and the operator share it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from units.paths import PKI
from units.status import CertificateState

LOW_LIFE = 0.25  # a leaf is renewed when 0.40 to 0.45 is left: below this, renewals have failed for a long time
# Rotating an authority takes people, and from here on its end cuts the life of what it signs (leaves live a year).
AUTHORITY_DAYS = 365


@dataclass(frozen=True, slots=True)
class Life:
    """What is left of a certificate: whole days, negative once it has expired; and the part of its life, 1.0 to 0.0."""

    days: int
    part: float

    @property
    def expired(self) -> bool:
        return self.part <= 0


@dataclass(frozen=True, slots=True)
class Expiring:
    path: str
    subject: str
    authority: bool
    left: Life

    @property
    def name(self) -> str:
        """The path below the folder that all of them lie in; of an authority also which one: a bundle holds several."""
        path = short_path(self.path)
        return f"{path} ({self.subject})" if self.authority else path

    @property
    def text(self) -> str:
        if self.left.expired:
            return f"{self.name} has expired {-self.left.days} d ago" if self.left.days < 0 else f"{self.name} expired"
        return f"{self.name} expires in {self.left.days} d"

    @property
    def remedy(self) -> str:
        if self.authority:
            return "coordinator trust rotate ca: every node must trust the new one long before this one ends"
        return "agent sync on the node: it says why the renewal fails (journalctl -u bootwright-sync has earlier tries)"


def short_path(path: str) -> str:
    return path.removeprefix(f"{PKI}/")


def life_left(certificate: CertificateState, now: datetime) -> Life:
    """As of `now`, however old the status is; what the status says itself where its times cannot be read."""
    begin, end = _time(certificate.not_before), _time(certificate.not_after)
    if begin is None or end is None or begin >= end:
        return Life(certificate.days_left, certificate.life_left)
    return Life((end - now).days, (end - now) / (end - begin))


def expiring(certificates: Iterable[CertificateState], now: datetime) -> tuple[Expiring, ...]:
    """Everything under a quarter of its life, and authorities in their last year; the soonest end first."""
    found = (
        Expiring(one.path, one.subject, one.authority, left)
        for one in certificates
        if (left := life_left(one, now)).part < LOW_LIFE or (one.authority and left.days < AUTHORITY_DAYS)
    )
    return tuple(sorted(found, key=lambda one: (one.left.days, one.path)))


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else None
