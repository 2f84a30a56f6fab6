"""The three phases in which a key is replaced, as changes of the signed `cluster.json`. Pure.

`add`: old and new are trusted, the old one signs. `sign`: both are trusted, the new one signs, so every leaf is issued
again. `retire`: only the new one is trusted. Nobody ever meets a certificate or a token that he cannot verify yet,
or any more, as long as every node has taken one phase before the next begins.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, get_args

from coordinator.authorities import Successor
from coordinator.documents import ClusterDocument, Phase, RotatedName, Rotation
from pki.certificate import load_certificate
from pki.keys import load_public_key, spki_sha256
from units.envelope import SERVICE_ACCOUNT, authority_secret, later_secret
from units.errors import Refused
from units.manifest import Authority

PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
_AFTER: Final[dict[Phase | None, Phase]] = {None: "add", "add": "sign", "sign": "retire", "retire": "add"}
_MEANING: Final[dict[Phase | None, str]] = {
    None: "was never rotated",
    "add": "old and new are trusted, the old one signs",
    "sign": "old and new are trusted, the new one signs",
    "retire": "the rotation is complete, one key is trusted and signs",
}


@dataclass(frozen=True, slots=True)
class Ring:
    """The public halves of one key and its successor, PEM; the first one signs, `secret` is its envelope."""

    publics: tuple[str, ...]
    secret: str

    @property
    def signing(self) -> str:
        """The SPKI hash of the key that signs."""
        return spki_of(self.publics[0])


def spki_of(public: str) -> str:
    """Hex sha256 of the SubjectPublicKeyInfo of a PEM certificate or public key."""
    if "BEGIN CERTIFICATE" in public:
        return load_certificate(public.encode()).spki_sha256
    return spki_sha256(load_public_key(public.encode()))


def ring_of(document: ClusterDocument, name: RotatedName) -> Ring:
    if name == "service-account":
        return Ring(document.service_account_keys, document.service_account_secret)
    authority = next(each for each in document.authorities if each.name == name)
    return Ring(authority.certificates, authority.secret)


def next_phase(rotation: Rotation | None) -> Phase:
    return _AFTER[rotation.phase if rotation else None]


def command(name: RotatedName, phase: Phase) -> str:
    what = name if name == "service-account" else f"ca {name}"
    return f"coordinator trust rotate {what} --phase {phase}"


def is_published(rotation: Rotation | None, name: RotatedName, phase: Phase) -> bool:
    """Whether this phase is the one the cluster is in: then there is nothing to do. Refused if it is out of order."""
    found = rotation.phase if rotation else None
    if phase == found:
        return True
    if phase == _AFTER[found]:
        return False
    since = f" since {rotation.published}" if rotation else ""
    raise Refused(
        "rotation-order",
        f"{name}: phase {phase!r} is not next: {_MEANING[found]}{since} (phase {found or 'none'}); nothing was changed",
        remedy=f"next is: {command(name, _AFTER[found])}",
    )


def advanced(
    document: ClusterDocument,
    name: RotatedName,
    phase: Phase,
    successor: Successor | None,
    *,
    serial: int,
    now: datetime,
) -> ClusterDocument:
    """The document after a phase that `is_published` allowed. `successor` is given exactly for `add`."""
    ring, before = ring_of(document, name), document.rotation(name)
    if phase == "add":
        assert successor is not None  # the caller made it
        old, new = ring.signing, spki_of(successor.public)
        ring = Ring((*ring.publics, successor.public), ring.secret)
    else:
        assert before is not None  # `is_published` saw it
        old, new = before.old, before.new
        by_key = {spki_of(public): public for public in ring.publics}
        secret = secret_of(name, new)
        ring = Ring((by_key[new], by_key[old]) if phase == "sign" else (by_key[new],), secret)
    stamp = f"{now:%Y-%m-%dT%H:%M:%SZ}"
    rotation = Rotation(name=name, phase=phase, serial=serial, published=stamp, old=old, new=new)
    others = tuple(each for each in document.rotations if each.name != name)
    return _with_ring(document, name, ring).model_copy(update={"rotations": (*others, rotation)})


def secret_of(name: RotatedName, spki: str) -> str:
    """The envelope of a key that took over, by its SPKI hash."""
    return later_secret(SERVICE_ACCOUNT if name == "service-account" else authority_secret(name), spki)


def _with_ring(document: ClusterDocument, name: RotatedName, ring: Ring) -> ClusterDocument:
    if name == "service-account":
        return document.model_copy(update={"service_account_keys": ring.publics, "service_account_secret": ring.secret})
    changed = Authority(name=name, bundle="".join(ring.publics), secret=ring.secret)
    authorities = tuple(changed if each.name == name else each for each in document.authorities)
    return document.model_copy(update={"authorities": authorities})
