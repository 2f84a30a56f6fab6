"""`coordinator publish`: what would change, and then the change, signed."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from coordinator.documents import AssetsDocument, ClusterDocument, decode_document
from coordinator.draft import Draft, NewTarget
from coordinator.inputs import AssetCatalogue, PublicTrust
from coordinator.keys import SigningKeys
from coordinator.layout import ASSETS, CLUSTER, group_target
from coordinator.preview import GroupDiff, ItemDiff
from coordinator.repository import PARALLEL, Clock, Committed, Repository
from coordinator.state import Lifetimes, PublishedGroup, State
from units.actions import Action
from units.errors import Invalid, Refused, Retryable
from units.manifest import Manifest, Release, decode_release, encode_release, manifest_digest

RENEW_TARGETS: Final = 3  # a publish re-signs the targets when a third of their life or less is left

Preview = Callable[[Manifest | None, Manifest], GroupDiff]
Compile = Callable[[PublicTrust, AssetCatalogue], dict[str, Manifest]]


@dataclass(frozen=True, slots=True)
class GroupChange:
    """One group: what is published, what would be, and the difference on a node."""

    group: str
    before: PublishedGroup | None
    after: Manifest | None = field(repr=False)  # None: the group is not in the spec any more
    items: tuple[ItemDiff, ...] = field(repr=False)
    actions: tuple[Action, ...] = ()  # what it disrupts on nodes that run now

    @property
    def kind(self) -> str:
        if self.after is None:
            return "removed"
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


def prepare(
    repository: Repository, request: PublishRequest, compile_all: Compile, preview: Preview, clock: Clock
) -> Publication:
    """Compare the spec with what is published. Invalid if a group cannot be planned: then nothing may be published."""
    state = repository.read()
    public, catalogue = read_inputs(repository, state, request)
    manifests = compile_all(public, catalogue)
    digests = {group: manifest_digest(manifest) for group, manifest in manifests.items()}
    published = state.groups
    changed = [
        group
        for group, digest in digests.items()
        if group not in published or published[group].manifest_sha256 != digest
    ]
    before = _published_manifests(repository, request, [published[g] for g in changed if g in published])
    changes = [
        _changed(preview(before.get(group), manifests[group]), published.get(group), manifests[group])
        for group in changed
    ]
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
    )


def _changed(difference: GroupDiff, before: PublishedGroup | None, after: Manifest) -> GroupChange:
    return GroupChange(difference.group, before, after, difference.items, difference.actions)


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
        return _draft(publication, state, by=by, published=f"{clock():%Y-%m-%dT%H:%M:%SZ}")

    committed = repository.commit(decide, keys)
    assert committed is not None  # decide always makes a draft
    return committed


def read_release(repository: Repository, cluster: str, group: PublishedGroup) -> Release:
    body = repository.verifier.target(group_target(group.name), group.target)
    return decode_release(body, cluster=cluster, group=group.name)


def _published_manifests(
    repository: Repository, request: PublishRequest, groups: list[PublishedGroup]
) -> dict[str, Manifest | None]:
    """Of the groups that change. One that this coordinator cannot decode shows as if it were new; with `repair`, also
    one that the store lost or damaged.
    """
    verifier = repository.verifier
    tolerated = (Invalid, Refused) if request.repair else Invalid

    def read(group: PublishedGroup) -> Manifest | None:
        try:
            body = verifier.target(group_target(group.name), group.target)
            return decode_release(body, cluster=request.cluster, group=group.name).stable
        except tolerated:
            return None

    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        return dict(zip((group.name for group in groups), pool.map(read, groups), strict=True))


def _fingerprint(publication: Publication, state: State) -> tuple[tuple[str, str], ...]:
    """What the operator's decision rests on: the groups that change, and the inputs that they were compiled from."""
    wanted = [CLUSTER, ASSETS, *(group_target(change.group) for change in publication.changes)]
    targets = state.targets.targets
    return tuple((path, targets[path].hashes["sha256"] if path in targets else "") for path in wanted)


def _draft(publication: Publication, state: State, *, by: str, published: str) -> Draft:
    """Changed groups get the next serial of the cluster; the others keep theirs, and their bytes."""
    serial = state.note.serial + 1
    changed = {change.group: change.after for change in publication.changes if change.after is not None}
    targets = {}
    for group, manifest in changed.items():
        release = Release(serial=serial, published=published, stable=manifest)
        custom = PublishedGroup.custom(serial, manifest_digest(manifest), published)
        targets[group_target(group)] = NewTarget(encode_release(release), custom)
    if publication.repair:
        targets |= _same_again(publication, state, skip=changed)
    return Draft(
        what=_what(publication),
        by=by,
        targets=targets,
        removed=tuple(group_target(change.group) for change in publication.changes if change.after is None),
        serial=serial if changed else None,
        lifetimes=publication.lifetimes,
    )


def _same_again(publication: Publication, state: State, *, skip: Mapping[str, Manifest]) -> dict[str, NewTarget]:
    """The published bytes of unchanged groups: same serial and time, so the same hash."""
    again = {}
    for name, group in state.groups.items():
        if name in publication.manifests and name not in skip:
            release = Release(serial=group.serial, published=group.published, stable=publication.manifests[name])
            custom = PublishedGroup.custom(group.serial, group.manifest_sha256, group.published)
            again[group_target(name)] = NewTarget(encode_release(release), custom)
    return again


def _what(publication: Publication) -> str:
    parts = []
    for kind in ("new", "changed", "removed"):
        names = [change.group for change in publication.changes if change.kind == kind]
        if names:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            parts.append(f"{kind}: {shown}")
    return "publish " + ("; ".join(parts) or ("repair" if publication.repair else "renewal"))
