"""Every certificate on this node: what it is, how long it lives, when it renews."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pki.certificate import Certificate, load_certificates, load_credential
from pki.errors import PkiError
from pki.renewal import renew_at
from units.paths import KUBERNETES, PKI
from units.status import CertificateState

_SUFFIXES = (".pem", ".crt")  # a component's certificate with its key; authorities


@dataclass(frozen=True, slots=True)
class Inventory:
    """In the order of their paths. `unreadable`: files that should hold certificates, and what is wrong with them."""

    certificates: tuple[CertificateState, ...]
    unreadable: tuple[tuple[str, str], ...]


def take_inventory(now: datetime, jitter_key: str, folder: str = KUBERNETES) -> Inventory:
    """What lies on disk, told without asking anybody. Without `jitter_key`, the instance id, no renewal can be told.

    Raises PermissionError for a folder that only root may list: it may hold certificates.
    """
    found: list[_Found] = []
    unreadable = []
    for path in sorted(path for path in _files(folder) if path.suffix in _SUFFIXES):
        try:
            found += _read(path)
        except OSError as error:
            unreadable.append((str(path), error.strerror or str(error)))
        except PkiError as error:
            unreadable.append((str(path), str(error)))
    signing = {one.certificate.common_name: one.certificate.key_identifier for one in found if one.signs}
    return Inventory(tuple(_state(one, now, jitter_key, signing) for one in found), tuple(unreadable))


def list_certificates(now: datetime, jitter_key: str, folder: str = PKI) -> tuple[CertificateState, ...]:
    """What the status object says of them. Unreadable files are left out: the plan's own check says what is wrong."""
    return tuple(
        state.model_copy(update={"alternative_names": ()})
        for state in take_inventory(now, jitter_key, folder).certificates
    )


def _files(folder: str) -> Iterator[Path]:
    def tell(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for place, _folders, names in os.walk(folder, onerror=tell):
        yield from (Path(place, name) for name in names)


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    certificate: Certificate
    renewed: bool = False  # it has its key beside it, so the agent renews it
    signs: bool = False  # the first of a bundle of authorities


def _read(path: Path) -> Iterator[_Found]:
    content = path.read_bytes()
    if b"PRIVATE KEY-----" in content:
        yield _Found(path, load_credential(content).leaf, renewed=True)
        return
    for number, certificate in enumerate(load_certificates(content)):
        yield _Found(path, certificate, signs=number == 0 and certificate.is_authority)


def _state(found: _Found, now: datetime, jitter_key: str, signing: Mapping[str, str]) -> CertificateState:
    certificate = found.certificate
    renews = renew_at(certificate, jitter_key)
    if signing.get(certificate.issuer, certificate.signer_identifier) != certificate.signer_identifier:
        renews = now  # its authority is being replaced: until then this node has not taken the phase
    return CertificateState(
        path=str(found.path),
        subject=certificate.common_name,
        issuer=certificate.issuer,
        signer=certificate.signer_identifier[:16],
        not_before=_text(certificate.not_before),
        not_after=_text(certificate.not_after),
        days_left=certificate.days_left(now),
        life_left=round(certificate.life_left(now), 3),
        renews=_text(renews) if found.renewed and jitter_key else "",
        authority=certificate.is_authority,
        alternative_names=certificate.alternative_names,
    )


def _text(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
