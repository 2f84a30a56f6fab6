"""A phase as one signed commit: the new `cluster.json` and every group's release with the new trust, or nothing.

The releases are the published ones with another `trust`, not the spec compiled anew: a phase changes whom nodes trust,
and nothing else. An ordinary publish meanwhile carries the phase along, because it compiles from `cluster.json`.

Over live nodes a phase goes in waves, as every change does: any mix of two neighbouring phases works, and what it
restarts (etcd, API servers) is restarted on one control-plane node at a time (docs/adr/0010-rotations-go-in-waves.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from coordinator.authorities import SecretMaker, Successor, store_successor
from coordinator.documents import ClusterDocument, Phase, RotatedName, Rotation, decode_document, encode_document
from coordinator.draft import Draft, NewTarget
from coordinator.inventory import Departed, nobody
from coordinator.keys import SigningKeys
from coordinator.layout import CLUSTER, GROUPS, group_target
from coordinator.publish import Preview, Publication, PublishRequest, compare, queue_of, release_of
from coordinator.published import read_releases
from coordinator.repository import Clock, Committed, Repository
from coordinator.rollouts import Stamp, Terms
from coordinator.rotation.confirmation import Authority, Unconfirmed, still_signed_by, unconfirmed
from coordinator.rotation.phases import advanced, is_published, ring_of, secret_of, spki_of
from coordinator.rotation.waiting import SETTLE, Confirmations, require_settled, require_tokens_expired
from coordinator.state import PublishedGroup, State
from coordinator.status import MOST_NODES, Fleet, read_fleet
from pki.certificate import load_certificate
from units.envelope import MAX_BYTES, decode_envelope, object_key
from units.errors import Refused, Retryable
from units.manifest import Manifest, Release, encode_release

SHOWN: int = 20  # nodes named in a refusal; all are in `coordinator trust status`


@dataclass(frozen=True, slots=True)
class PhaseRequest:
    """`ignored`: machines that exist no more. `after`: the longest life of a token, for service-account's retire."""

    name: RotatedName
    phase: Phase
    ignored: frozenset[str] = frozenset()
    settle: timedelta = SETTLE
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class RotationTools:
    """The outside things a phase works with."""

    repository: Repository
    confirmations: Confirmations
    secrets: Callable[[ClusterDocument], SecretMaker]  # opens the secrets key; called for `add` only
    preview: Preview
    clock: Clock
    terms: Terms | None = None  # of its waves; None: every node takes it at its next poll
    departed: Departed = nobody


@dataclass(frozen=True, slots=True)
class PlannedPhase:
    """A phase that may be published, and what it does to every group."""

    request: PhaseRequest
    document: ClusterDocument  # as it is published now
    successor: Successor | None
    publication: Publication


def prepare_phase(request: PhaseRequest, tools: RotationTools) -> PlannedPhase | Rotation:
    """The phase, ready to be shown and published; or the rotation, if it is in this phase already.

    Refused if the phase is out of order, or while a node has not confirmed the one before. Nothing in the store is
    changed; for `add` the new key is made and kept, sealed, in the key directory.
    """
    state = tools.repository.read()
    document = decode_document(ClusterDocument, tools.repository.read_target(state, CLUSTER))
    rotation = document.rotation(request.name)
    if is_published(rotation, request.name, request.phase):
        assert rotation is not None  # it is in this phase
        return rotation
    releases = read_releases(tools.repository, document.name, state.groups.values())
    _require_no_rollout(releases)
    _require_confirmed(request, document, state, releases, tools)
    if request.phase == "sign":
        assert rotation is not None  # `add` was before
        _require_envelope(tools.repository, document, rotation)
    successor = None
    if request.phase == "add":
        successor = tools.secrets(document).successor(request.name, of=ring_of(document, request.name).signing)
    after = _after(document, request, successor, state, tools.clock)
    return PlannedPhase(request, document, successor, _publication(request, state, after, releases, tools))


def publish_phase(planned: PlannedPhase, tools: RotationTools, keys: SigningKeys, *, by: str) -> Committed:
    """Sign and upload what was shown, in one commit, and read it back. After a crash, prepare and publish again.

    Retryable if anything was published since it was shown.
    """
    repository = tools.repository
    if planned.successor is not None:
        store_successor(repository.store, planned.successor)
    seen = _fingerprint(planned.publication.state)

    def decide(state: State) -> Draft:
        if _fingerprint(state) != seen:
            raise Retryable(
                "rotation-overtaken",
                "somebody else published since the change was shown; nothing was published",
                remedy="run the command again and look at the new difference",
            )
        return _draft(planned, state, by=by, clock=tools.clock)

    committed = repository.commit(decide, keys)
    assert committed is not None  # decide always makes a draft
    return committed


def not_confirmed(
    document: ClusterDocument, rotation: Rotation, state: State, fleet: Fleet, ignored: frozenset[str], clock: Clock
) -> tuple[Unconfirmed, ...]:
    """Everything in the fleet that the phase after this one must wait for, where `lacking` names no group."""
    found = unconfirmed(fleet, state.groups, rotation, ignored, clock())
    if rotation.phase == "sign" and rotation.name != "service-account":
        blamed = {node.instance_id for node in found}
        signed = still_signed_by(fleet, _old_authority(document, rotation), ignored)
        found += tuple(node for node in signed if node.instance_id not in blamed)
    return found


def lacking(document: ClusterDocument, releases: Mapping[str, Release]) -> tuple[str, ...]:
    """Groups whose nodes are told to trust something else than the document says: a phase was taken back there."""
    wanted = {group: release.candidate or release.stable for group, release in releases.items()}
    return tuple(group for group, manifest in wanted.items() if _with_trust(manifest, document) != manifest)


def _require_confirmed(
    request: PhaseRequest,
    document: ClusterDocument,
    state: State,
    releases: Mapping[str, Release],
    tools: RotationTools,
) -> None:
    rotation = document.rotation(request.name)
    if rotation is None:
        return  # nothing was ever published that a node could lack
    if taken_back := lacking(document, releases):
        raise Refused(
            "rotation-taken-back",
            f"{request.name}: phase {rotation.phase!r} is not what {', '.join(taken_back[:SHOWN])} trust: its rollout "
            "was taken back there",
            remedy="coordinator publish --yes brings it again, in waves",
        )
    fleet = read_fleet(tools.repository.store)
    if fleet.truncated:
        raise Refused(
            "rotation-fleet-large",
            f"there are more than {MOST_NODES} status objects; the others were not looked at",
            remedy="delete the status objects of machines that exist no more",
        )
    found = not_confirmed(document, rotation, state, fleet, request.ignored, tools.clock)
    if found:
        lines = [f"  {node.instance_id} ({node.group or 'group unknown'}): {node.reason}" for node in found[:SHOWN]]
        if len(found) > SHOWN:
            lines.append(f"  and {len(found) - SHOWN} more: coordinator trust status")
        raise Refused(
            "rotation-unconfirmed",
            f"{request.name}: not confirmed by {len(found)} of the nodes: phase {rotation.phase!r} "
            f"(serial {rotation.serial}); {request.phase!r} would cut them off:\n" + "\n".join(lines),
            remedy="wait for them, or repair them; --ignore-node INSTANCE for a machine that exists no more",
        )
    since, now = tools.confirmations.since(rotation, tools.clock()), tools.clock()
    require_settled(fleet, since, now, request.settle)
    if request.phase == "retire" and request.name == "service-account":
        manifests = [release.stable for release in releases.values() if release.stable.group.role == "control-plane"]
        require_tokens_expired(manifests, since + request.settle, now, request.after)


def _require_no_rollout(releases: Mapping[str, Release]) -> None:
    """A phase goes to every node whole; a candidate that was compiled before it would take it back when it is done."""
    if rolling := [group for group, release in releases.items() if release.rollout is not None]:
        raise Retryable(
            "rotation-rollout-under-way",
            f"a rollout is under way in {', '.join(rolling[:SHOWN])}; a phase waits until it is finished or aborted",
            remedy="coordinator rollout status",
        )


def _require_envelope(repository: Repository, document: ClusterDocument, rotation: Rotation) -> None:
    """The new key must be where the nodes will look for it, before they are told to."""
    secret = secret_of(rotation.name, rotation.new)
    stored = repository.store.get(object_key(secret), limit=MAX_BYTES)
    envelope = decode_envelope(stored.body) if stored else None
    if envelope is None or envelope.key != document.secrets_key or envelope.public_sha256 != rotation.new:
        what = "is not there" if envelope is None else "is not the key that phase 'add' published"
        raise Refused(
            "rotation-secret-missing",
            f"{repository.store.url}/{object_key(secret)}: {what}; no control-plane node could sign with it",
            remedy="restore the object's version in the bucket, or its copy in the key directory that ran `add`",
        )


def _old_authority(document: ClusterDocument, rotation: Rotation) -> Authority:
    publics = ring_of(document, rotation.name).publics
    old = load_certificate(next(public for public in publics if spki_of(public) == rotation.old).encode())
    return Authority(old.common_name, old.key_identifier)


def _after(
    document: ClusterDocument, request: PhaseRequest, successor: Successor | None, state: State, clock: Clock
) -> ClusterDocument:
    serial = state.note.serial + 1
    return advanced(document, request.name, request.phase, successor, serial=serial, now=clock())


def _with_trust(manifest: Manifest, document: ClusterDocument) -> Manifest:
    trust = document.public_trust().for_role(manifest.group.role, issuer=manifest.trust.service_account_issuer)
    return manifest.model_copy(update={"trust": trust})


def _publication(
    request: PhaseRequest,
    state: State,
    after: ClusterDocument,
    releases: Mapping[str, Release],
    tools: RotationTools,
) -> Publication:
    manifests = {group: _with_trust(release.stable, after) for group, release in releases.items()}
    wanted = {group: manifest for group, manifest in manifests.items() if manifest != releases[group].stable}
    basis = PublishRequest(after.name, None, state.note.lifetimes, departed=tools.departed)
    changes = compare(tools.repository, basis, wanted, state.groups, tools.preview, clock=tools.clock)
    if tools.terms is None:
        changes = [replace(change, reach=None) for change in changes]
    return Publication(
        cluster=after.name,
        state=state,
        manifests=manifests,
        changes=tuple(changes),
        lifetimes=state.note.lifetimes,
        renew=False,
        repair=False,
        terms=tools.terms or Terms(),
        what=f"rotate {request.name}: {request.phase}",
    )


def _draft(planned: PlannedPhase, state: State, *, by: str, clock: Clock) -> Draft:
    publication, stamp = planned.publication, Stamp(state.note.serial + 1, clock())
    after = _after(planned.document, planned.request, planned.successor, state, clock)
    queue = queue_of(publication, state)
    targets = {CLUSTER: NewTarget(encode_document(after))}
    for change in publication.changes:
        release = release_of(change, publication.terms, stamp, behind=queue.get(change.group, ""))
        targets[group_target(change.group)] = NewTarget(encode_release(release), PublishedGroup.custom_of(release))
    return Draft(what=publication.what, by=by, targets=targets, serial=stamp.serial)


def _fingerprint(state: State) -> tuple[tuple[str, str], ...]:
    """The trust and every group: also a group that was added since would lack the phase."""
    paths = sorted(path for path in state.targets.targets if path == CLUSTER or path.startswith(GROUPS))
    return tuple((path, state.targets.targets[path].hashes["sha256"]) for path in paths)
