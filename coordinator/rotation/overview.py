"""`coordinator trust status`: every key that something rests on, and what a rotation is waiting for."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from coordinator.aws.kms import SCHEME as KMS
from coordinator.documents import ClusterDocument, RotatedName, Rotation, decode_document
from coordinator.key_directory import KeyDirectory
from coordinator.keys import FILE
from coordinator.layout import CLUSTER
from coordinator.published import read_releases
from coordinator.repository import Repository
from coordinator.rotation.confirmation import Unconfirmed
from coordinator.rotation.next_root import uri_of
from coordinator.rotation.phases import command, next_phase, ring_of, spki_of
from coordinator.rotation.publication import lacking, not_confirmed
from coordinator.rotation.waiting import Confirmations
from coordinator.state import State
from coordinator.status import Fleet, read_fleet
from pki.certificate import load_certificate


@dataclass(frozen=True, slots=True)
class SigningKeyState:
    """`available`: its file lies in this key directory, or KMS holds it. Whether KMS lets us is not asked."""

    keyid: str
    uri: str
    available: bool


@dataclass(frozen=True, slots=True)
class RoleState:
    role: str
    version: int
    threshold: int
    keys: tuple[SigningKeyState, ...]
    expires: datetime
    days_left: int


@dataclass(frozen=True, slots=True)
class PublicHalf:
    spki_sha256: str
    common_name: str  # empty for a key without certificate
    not_after: datetime | None
    signs: bool


@dataclass(frozen=True, slots=True)
class RingState:
    """An authority, or the service-account key. `command` begins the next phase; empty where nothing is under way."""

    name: RotatedName
    publics: tuple[PublicHalf, ...]
    secret: str
    rotation: Rotation | None
    command: str
    unconfirmed: tuple[Unconfirmed, ...]


@dataclass(frozen=True, slots=True)
class TrustOverview:
    cluster: str
    state: State
    roles: tuple[RoleState, ...]
    rings: tuple[RingState, ...]


def overlook(repository: Repository, directory: KeyDirectory, now: datetime) -> TrustOverview:
    state = repository.read()
    document = decode_document(ClusterDocument, repository.read_target(state, CLUSTER))
    fleet = read_fleet(repository.store)
    taken_back = lacking(document, read_releases(repository, document.name, state.groups.values()))
    names: tuple[RotatedName, ...] = (*(authority.name for authority in document.authorities), "service-account")
    return TrustOverview(
        cluster=document.name,
        state=state,
        roles=tuple(_role(state, directory, role, days) for role, days in state.days_left(now).items()),
        rings=tuple(
            _with_taken_back(_ring(document, state, fleet, name, now, Confirmations(directory)), taken_back)
            for name in names
        ),
    )


def _with_taken_back(ring: RingState, groups: Collection[str]) -> RingState:
    """What no node of these groups can confirm, as long as nobody publishes it again."""
    if ring.rotation is None or not groups:
        return ring
    reason = f"phase {ring.rotation.phase} was taken back with its rollout; coordinator publish --yes brings it again"
    everyone = tuple(Unconfirmed("every node", group, reason) for group in groups)
    return replace(ring, unconfirmed=(*everyone, *ring.unconfirmed))


def _role(state: State, directory: KeyDirectory, role: str, days_left: int) -> RoleState:
    signed: Mapping[str, datetime] = {
        "root": state.root.expires,
        "targets": state.targets.expires,
        "snapshot": state.snapshot.expires,
        "timestamp": state.timestamp.expires,
    }
    found = state.root.roles[role]
    keys = []
    for keyid in found.keyids:
        uri = uri_of(state.root.keys[keyid])
        available = uri.startswith(KMS) or directory.read(uri.removeprefix(FILE)) is not None
        keys.append(SigningKeyState(keyid, uri, available))
    return RoleState(role, state.versions[role], found.threshold, tuple(keys), signed[role], days_left)


def _ring(
    document: ClusterDocument,
    state: State,
    fleet: Fleet,
    name: RotatedName,
    now: datetime,
    confirmations: Confirmations,
) -> RingState:
    ring, rotation = ring_of(document, name), document.rotation(name)
    waiting = not_confirmed(document, rotation, state, fleet, frozenset(), lambda: now) if rotation else ()
    if rotation and not waiting:
        confirmations.since(rotation, now)  # the life of old tokens counts from when somebody first saw this
    under_way = rotation is not None and rotation.phase != "retire"
    return RingState(
        name=name,
        publics=tuple(_public(public, signs=number == 0) for number, public in enumerate(ring.publics)),
        secret=ring.secret,
        rotation=rotation,
        command=command(name, next_phase(rotation)) if under_way else "",
        unconfirmed=waiting,
    )


def _public(public: str, *, signs: bool) -> PublicHalf:
    if "BEGIN CERTIFICATE" not in public:
        return PublicHalf(spki_of(public), "", None, signs)
    certificate = load_certificate(public.encode())
    return PublicHalf(certificate.spki_sha256, certificate.common_name, certificate.not_after, signs)
