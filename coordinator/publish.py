"""`coordinator publish`: what would change, and then the change, signed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from coordinator.documents import AssetsDocument, ClusterDocument, decode_document
from coordinator.draft import Draft, NewTarget
from coordinator.inputs import AssetCatalogue, PublicTrust
from coordinator.inventory import LIVES, Departed, Inventory, live_nodes, nobody, without
from coordinator.keys import SigningKeys
from coordinator.layout import ASSETS, CLUSTER, group_target
from coordinator.preview import GroupDiff, ItemDiff
from coordinator.published import read_readable, stable_manifests
from coordinator.repository import Clock, Committed, Repository
from coordinator.rollouts import Stamp, Terms, begun, one_at_a_time, settled
from coordinator.state import Lifetimes, PublishedGroup, State
from units.actions import Action
from units.errors import Invalid, Refused, Retryable
from units.manifest import Manifest, Release, encode_release, manifest_digest
from units.rollout import LiveNode

RENEW_TARGETS: Final = 3  # a publish re-signs the targets when a third of their life or less is left

Preview = Callable[[Manifest | None, Manifest], GroupDiff]
Compile = Callable[[PublicTrust, AssetCatalogue], dict[str, Manifest]]


@dataclass(frozen=True, slots=True)
class Reach:
    """How a change comes to the nodes of its group. `live`: those that it goes over in waves, if `stable` is known."""

    live: tuple[LiveNode, ...] = ()
    stable: Manifest | None = field(default=None, repr=False)  # what they run until it is their turn
    aborts: bool = False  # a candidate is taken back, and nothing else

    @property
    def in_waves(self) -> bool:
        return bool(self.live) and self.stable is not None and not self.aborts


@dataclass(frozen=True, slots=True)
class GroupChange:
    """One group: what is published, what would be, and the difference on a node from the stable manifest."""

    group: str
    before: PublishedGroup | None
    after: Manifest | None = field(repr=False)  # None: the group is not in the spec any more
    items: tuple[ItemDiff, ...] = field(repr=False)
    actions: tuple[Action, ...] = ()  # what it disrupts on nodes that run now
    reach: Reach | None = None  # None: every node takes it at its next poll

    @property
    def kind(self) -> str:
        if self.after is None:
            return "removed"
        if self.reach is not None and self.reach.aborts:
            return "aborted"
        return "new" if self.before is None else "changed"


@dataclass(frozen=True, slots=True)
class Publication:
    """A change that an operator can look at. `state` is what it was compared with."""

    cluster: str
    state: State
    manifests: Mapping[str, Manifest] = field(repr=False)
    changes: tuple[GroupChange, ...]
    lifetimes: Lifetimes
    renew: bool  # nothing changed, but the signature on the targets grows old
    repair: bool  # write every release document again, in case the store lost or damaged one
    terms: Terms = field(default_factory=Terms)
    under_way: Mapping[str, Release] = field(default_factory=dict, repr=False)  # with `repair`: what is written again
    what: str = ""  # for the history, if it is not `publish`

    @property
    def is_empty(self) -> bool:
        return not (self.changes or self.renew or self.repair)

    @property
    def unchanged(self) -> int:
        return len(self.manifests) - sum(1 for change in self.changes if change.after is not None)


@dataclass(frozen=True, slots=True)
class PublishRequest:
    cluster: str
    secrets_key: str | None  # what the spec asks for; None when it leaves it open
    lifetimes: Lifetimes
    repair: bool = False
    terms: Terms = field(default_factory=Terms)
    departed: Departed = nobody


def prepare(
    repository: Repository, request: PublishRequest, compile_all: Compile, preview: Preview, clock: Clock
) -> Publication:
    """Compare the spec with what is published. Invalid if a group cannot be planned: then nothing may be published."""
    state = repository.read()
    public, catalogue = read_inputs(repository, state, request)
    manifests = compile_all(public, catalogue)
    digests = {group: manifest_digest(manifest) for group, manifest in manifests.items()}
    published = state.groups
    under_way = _under_way(repository, request, [published[group] for group in digests if group in published])
    changed = [
        group
        for group, digest in digests.items()
        if group not in published
        or published[group].wanted_sha256 != digest
        or (request.repair and published[group].candidate_sha256 and under_way.get(group) is None)
    ]
    changes = compare(
        repository, request, {group: manifests[group] for group in changed}, published, preview, clock=clock
    )
    changes += [GroupChange(group, published[group], None, ()) for group in published if group not in manifests]
    days_left = state.days_left(clock())["targets"]
    return Publication(
        cluster=request.cluster,
        state=state,
        manifests=manifests,
        changes=tuple(changes),
        lifetimes=request.lifetimes,
        renew=days_left <= request.lifetimes.targets // RENEW_TARGETS,
        repair=request.repair,
        terms=request.terms,
        under_way={group: release for group, release in under_way.items() if release and group not in changed},
    )


def compare(
    repository: Repository,
    request: PublishRequest,
    wanted: Mapping[str, Manifest],
    published: Mapping[str, PublishedGroup],
    preview: Preview,
    *,
    clock: Clock,
) -> list[GroupChange]:
    """The changes of groups that are to have other manifests, and how each comes to the group's nodes."""
    known = {group: published[group] for group in wanted if group in published}
    before = stable_manifests(repository, request.cluster, known.values(), repair=request.repair)
    # Nobody is asked who lives if nothing changes, or only for groups that no machine can have yet.
    living = live_nodes(Inventory(repository.store, clock).rows(), clock() - LIVES) if known else {}
    changes = []
    for group, manifest in wanted.items():
        stable = before.get(group)
        aborts = group in known and known[group].manifest_sha256 == manifest_digest(manifest)
        live = without(living.get(group, ()), request.departed) if group in known and not aborts else ()
        shown = preview(stable, manifest)
        reach = Reach(live, stable, aborts) if group in known else None
        changes.append(GroupChange(group, known.get(group), manifest, shown.items, shown.actions, reach))
    return changes


def read_inputs(repository: Repository, state: State, request: PublishRequest) -> tuple[PublicTrust, AssetCatalogue]:
    """The verified public trust and catalogue; Invalid if they are another cluster's, or the spec wants other keys."""
    wanted = [(path, state.targets.targets[path]) for path in (CLUSTER, ASSETS)]
    cluster_bytes, assets_bytes = repository.read_targets(wanted)
    document = decode_document(ClusterDocument, cluster_bytes)
    if document.name != request.cluster:
        raise Invalid(
            "cluster-differs",
            f"{repository.store.url}: holds cluster {document.name!r}, the spec is for {request.cluster!r}",
            remedy="correct metadata.name or store in the spec",
        )
    if request.secrets_key is not None and document.secrets_key.split(":")[0] != request.secrets_key.split(":")[0]:
        raise Invalid(
            "secrets-key-differs",
            f"trust.secretsKey is {request.secrets_key!r}, but the cluster's secrets are sealed under "
            f"{document.secrets_key!r}",
            remedy="correct trust.secretsKey; the key is chosen once, at `coordinator init`",
        )
    return document.public_trust(), decode_document(AssetsDocument, assets_bytes).catalogue()


def publish(publication: Publication, repository: Repository, keys: SigningKeys, *, by: str, clock: Clock) -> Committed:
    """Sign and upload what was shown, and read it back. Retryable if the groups changed since they were looked at."""
    seen = _fingerprint(publication, publication.state)

    def decide(state: State) -> Draft | None:
        if _fingerprint(publication, state) != seen:
            raise Retryable(
                "publish-overtaken",
                "somebody else published to these groups since the change was shown; nothing was published",
                remedy="run publish again and look at the new difference",
            )
        return _draft(publication, state, by=by, stamp=Stamp(state.note.serial + 1, clock()))

    committed = repository.commit(decide, keys)
    assert committed is not None  # decide always makes a draft
    return committed


def queue_of(publication: Publication, state: State) -> Mapping[str, str]:
    """Of the groups whose rollouts begin with this publication: the control-plane group that each has to wait for.

    Empty for those that begin at once. One control-plane group at a time, and all of them before any other.
    """
    begins = {change.group for change in publication.changes if change.reach is not None and change.reach.in_waves}
    ends = {change.group for change in publication.changes} - begins
    control_planes = {
        group for group, manifest in publication.manifests.items() if one_at_a_time(manifest) and group not in ends
    }
    running = sorted(g for g in control_planes - begins if g in state.groups and state.groups[g].candidate_sha256)
    first = (*running, *sorted(control_planes & begins))[:1]
    return {group: first[0] if first and first[0] != group else "" for group in begins}


def _under_way(
    repository: Repository, request: PublishRequest, groups: list[PublishedGroup]
) -> Mapping[str, Release | None]:
    """For a repair, the releases of groups in a rollout, which the spec alone cannot tell; None if one is damaged."""
    if not request.repair:
        return {}
    rolling = [group for group in groups if group.candidate_sha256]
    return read_readable(repository, request.cluster, rolling, (Invalid, Refused))


def _fingerprint(publication: Publication, state: State) -> tuple[tuple[str, str], ...]:
    """What the operator's decision rests on: the groups that change, and the inputs that they were compiled from."""
    wanted = [CLUSTER, ASSETS, *(group_target(change.group) for change in publication.changes)]
    targets = state.targets.targets
    return tuple((path, targets[path].hashes["sha256"] if path in targets else "") for path in wanted)


def _draft(publication: Publication, state: State, *, by: str, stamp: Stamp) -> Draft:
    """Changed groups get the next serial of the cluster; the others keep theirs, and their bytes."""
    queue = queue_of(publication, state)
    changed = [change for change in publication.changes if change.after is not None]
    targets = {}
    for change in changed:
        release = release_of(change, publication.terms, stamp, behind=queue.get(change.group, ""))
        targets[group_target(change.group)] = NewTarget(encode_release(release), PublishedGroup.custom_of(release))
    if publication.repair:
        targets |= _same_again(publication, state, skip={change.group for change in changed})
    return Draft(
        what=publication.what or _what(publication),
        by=by,
        targets=targets,
        removed=tuple(group_target(change.group) for change in publication.changes if change.after is None),
        serial=stamp.serial if changed else None,
        lifetimes=publication.lifetimes,
    )


def release_of(change: GroupChange, terms: Terms, stamp: Stamp, *, behind: str) -> Release:
    """What is signed for a group that is not removed: a rollout, perhaps `behind` another group, or the manifest."""
    assert change.after is not None  # removed groups have no release
    if change.reach is not None and change.reach.in_waves:
        assert change.reach.stable is not None  # in_waves
        return begun(change.reach.stable, change.after, change.reach.live, terms=terms, stamp=stamp, behind=behind)
    return settled(change.after, stamp)


def _same_again(publication: Publication, state: State, *, skip: set[str]) -> dict[str, NewTarget]:
    """The published bytes of unchanged groups: same serial and time, so the same hash."""
    again = {}
    for name, group in state.groups.items():
        if name not in publication.manifests or name in skip:
            continue
        release = Release(serial=group.serial, published=group.published, stable=publication.manifests[name])
        if group.candidate_sha256:
            release = publication.under_way.get(name, release)
        if (release.serial, release.candidate is None) == (group.serial, not group.candidate_sha256):
            # Else its rollout went on since it was read, which wrote it anew.
            again[group_target(name)] = NewTarget(encode_release(release), PublishedGroup.custom_of(release))
    return again


def _what(publication: Publication) -> str:
    parts = []
    for kind in ("new", "changed", "aborted", "removed"):
        names = [change.group for change in publication.changes if change.kind == kind]
        if names:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            parts.append(f"{kind}: {shown}")
    return "publish " + ("; ".join(parts) or ("repair" if publication.repair else "renewal"))
