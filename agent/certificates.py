"""Every certificate on this node: what it is, how long it lives, when it renews."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pki.certificate import Certificate, load_credential
from pki.errors import PkiError
from pki.renewal import renew_at
from units.paths import PKI
from units.status import CertificateState


def list_certificates(now: datetime, jitter_key: str, folder: str = PKI) -> tuple[CertificateState, ...]:
    """The combined PEM files under the PKI folder, in the order of their paths; unreadable ones are left out."""
    return tuple(
        CertificateState(
            path=str(path),
            subject=leaf.common_name,
            issuer=leaf.issuer,
            not_after=_text(leaf.not_after),
            days_left=leaf.days_left(now),
            life_left=round(leaf.life_left(now), 3),
            renews=_text(renew_at(leaf, jitter_key)),
        )
        for path, leaf in _leaves(Path(folder))
    )


def _leaves(folder: Path) -> Iterator[tuple[Path, Certificate]]:
    for path in sorted(folder.rglob("*.pem")):
        try:
            yield path, load_credential(path.read_bytes()).leaf
        except (OSError, PkiError):
            continue  # `agent diff` says what is wrong with it: the plan's own check does


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
