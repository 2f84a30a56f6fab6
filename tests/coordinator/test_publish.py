"""`publish`: what it shows, what it signs, and that nobody's change is lost or repeated by it."""

import itertools

import pytest

from coordinator.inputs import AssetCatalogue, PublicTrust
from coordinator.layout import group_target
from coordinator.preview import GroupDiff, ItemDiff
from coordinator.publish import (
    Publication,
    PublishRequest,
    prepare,
    publish,
)
from coordinator.published import read_release
from coordinator.repository import Committed
from coordinator.state import Lifetimes
from coordinator.store import Store
from tests.coordinator.workshop import CLUSTER, Crash, Fuse, Workshop
from tests.units.sample import manifest as sample
from units.errors import Invalid, Refused, Retryable
from units.manifest import Manifest, manifest_digest

REQUEST = PublishRequest(CLUSTER, None, Lifetimes())


def manifest_of(group: str, **changes: object) -> Manifest:
    plain = sample("node", **changes)
    return plain.model_copy(update={"group": plain.group.model_copy(update={"name": group})})


def preview_double(before: Manifest | None, after: Manifest) -> GroupDiff:
    """Stands for the planner, which has its own tests: one line per group."""
    kind = "add" if before is None else "change"
    return GroupDiff(after.group.name, (ItemDiff("file:/etc/motd", kind, ("+hello",)),))


def look(workshop: Workshop, *manifests: Manifest, request: PublishRequest = REQUEST) -> Publication:
    compiled = {manifest.group.name: manifest for manifest in manifests}
    return prepare(workshop.repository, request, lambda _public, _assets: compiled, preview_double, workshop.clock)


def sign(workshop: Workshop, publication: Publication) -> Committed:
    return publish(publication, workshop.repository, workshop.signing, by="tests", clock=workshop.clock)


def serials(workshop: Workshop) -> dict[str, int]:
    return {name: group.serial for name, group in workshop.repository.read().groups.items()}


def test_the_compiler_is_given_what_was_signed_at_init(workshop: Workshop) -> None:
    seen: list[tuple[PublicTrust, AssetCatalogue]] = []

    def compile_double(public: PublicTrust, catalogue: AssetCatalogue) -> dict[str, Manifest]:
        seen.append((public, catalogue))
        return {}

    prepare(workshop.repository, REQUEST, compile_double, preview_double, workshop.clock)
    ((public, catalogue),) = seen
    assert {authority.name for authority in public.authorities} == {
        "kubernetes",
        "etcd-peers",
        "etcd-clients",
        "front-proxy",
    }
    assert public.secrets_key.startswith("local:")
    assert "BEGIN PUBLIC KEY" in public.service_account_keys[0]
    assert catalogue == AssetCatalogue()


def test_looking_publishes_nothing(workshop: Workshop) -> None:
    before = [item.key for item in workshop.store.list("")]
    publication = look(workshop, manifest_of("workers"))
    assert [(change.group, change.kind) for change in publication.changes] == [("workers", "new")]
    assert [item.key for item in workshop.store.list("")] == before


def test_a_new_group_is_published_and_read_back_as_it_was_compiled(workshop: Workshop) -> None:
    committed = sign(workshop, look(workshop, manifest_of("workers")))
    group = committed.state.groups["workers"]
    release = read_release(workshop.repository, CLUSTER, group)
    assert release.stable == manifest_of("workers")
    assert (release.serial, group.serial, committed.state.note.serial) == (1, 1, 1)
    assert group.manifest_sha256 == manifest_digest(manifest_of("workers"))


def test_the_same_spec_again_is_nothing_to_publish(workshop: Workshop) -> None:
    sign(workshop, look(workshop, manifest_of("workers")))
    publication = look(workshop, manifest_of("workers"))
    assert publication.is_empty
    assert publication.unchanged == 1


def test_only_groups_that_change_get_the_next_serial(workshop: Workshop) -> None:
    sign(workshop, look(workshop, manifest_of("a"), manifest_of("b")))
    before = workshop.repository.read().groups["a"].target
    sign(workshop, look(workshop, manifest_of("a"), manifest_of("b", pause_image="registry.k8s.io/pause:3.11")))
    assert serials(workshop) == {"a": 1, "b": 2}
    assert workshop.repository.read().groups["a"].target == before


def test_a_group_that_left_the_spec_is_removed_and_its_serials_are_not_given_again(workshop: Workshop) -> None:
    sign(workshop, look(workshop, manifest_of("a"), manifest_of("b")))
    publication = look(workshop, manifest_of("a"))
    assert [(change.group, change.kind) for change in publication.changes] == [("b", "removed")]
    sign(workshop, publication)
    assert serials(workshop) == {"a": 1}
    sign(workshop, look(workshop, manifest_of("a"), manifest_of("b")))
    assert serials(workshop) == {"a": 1, "b": 2}


def test_a_change_that_was_shown_is_not_signed_over_a_change_that_was_not(workshop: Workshop) -> None:
    sign(workshop, look(workshop, manifest_of("a")))
    mine = look(workshop, manifest_of("a", pause_image="registry.k8s.io/pause:mine"))
    sign(workshop, look(workshop, manifest_of("a", pause_image="registry.k8s.io/pause:theirs")))
    with pytest.raises(Retryable) as caught:
        sign(workshop, mine)
    assert caught.value.code == "publish-overtaken"
    release = read_release(workshop.repository, CLUSTER, workshop.repository.read().groups["a"])
    assert release.stable.pause_image == "registry.k8s.io/pause:theirs"


def test_a_refresh_in_between_does_not_stop_a_publish(workshop: Workshop) -> None:
    publication = look(workshop, manifest_of("a"))
    workshop.repository.refresh(workshop.signing)
    assert sign(workshop, publication).state.groups["a"].serial == 1


def test_a_new_asset_in_between_stops_a_publish_that_was_compiled_without_it(workshop: Workshop) -> None:
    publication = look(workshop, manifest_of("a"))
    workshop.put_target("assets.json", b'{"format": 1, "assets": [], "images": []}')
    with pytest.raises(Retryable):
        sign(workshop, publication)


@pytest.mark.parametrize("after", [False, True], ids=["before-the-write", "after-the-write"])
def test_a_crash_at_every_write_of_a_publish_converges_on_the_next_one(workshop: Workshop, after: bool) -> None:
    for writes in itertools.count(1):
        wanted = [manifest_of(name, pause_image=f"registry.k8s.io/pause:{writes}") for name in ("a", "b", "c")]
        desk = Workshop(workshop.directory.path, workshop.store, workshop.clock, Fuse(writes, after=after))
        try:
            sign(desk, look(desk, *wanted))
        except Crash:
            again = look(workshop, *wanted)
            # All groups or none: a reader never sees half a publish.
            assert len(again.changes) in (0, 3)
            if not again.is_empty:
                sign(workshop, again)
            assert look(workshop, *wanted).is_empty
            assert len(set(serials(workshop).values())) == 1
        else:
            assert writes > 6  # three groups, targets, snapshot, timestamp, floor
            return


def test_a_lost_release_document_is_healed_by_a_repair_without_a_new_serial(workshop: Workshop) -> None:
    sign(workshop, look(workshop, manifest_of("a"), manifest_of("b")))
    group = workshop.repository.read().groups["a"]
    key = f"tuf/targets/groups/{group.target.hashes['sha256']}.a.json"
    workshop.store.put(key, b"damaged")
    with pytest.raises(Refused, match="is not what was signed") as caught:
        read_release(workshop.repository, CLUSTER, group)
    assert "--repair" in caught.value.remedy
    assert look(workshop, manifest_of("a"), manifest_of("b")).is_empty
    repair = look(
        workshop, manifest_of("a"), manifest_of("b"), request=PublishRequest(CLUSTER, None, Lifetimes(), True)
    )
    assert not repair.is_empty
    sign(workshop, repair)
    assert read_release(workshop.repository, CLUSTER, workshop.repository.read().groups["a"]).serial == 1
    assert serials(workshop) == {"a": 1, "b": 1}


def test_a_lost_release_document_does_not_stop_the_publish_that_replaces_it(workshop: Workshop) -> None:
    sign(workshop, look(workshop, manifest_of("a")))
    group = workshop.repository.read().groups["a"]
    workshop.store.put(f"tuf/targets/groups/{group.target.hashes['sha256']}.a.json", b"damaged")
    changed = manifest_of("a", pause_image="registry.k8s.io/pause:next")
    with pytest.raises(Refused, match="is not what was signed"):
        look(workshop, changed)
    publication = look(workshop, changed, request=PublishRequest(CLUSTER, None, Lifetimes(), True))
    sign(workshop, publication)
    assert serials(workshop) == {"a": 2}


def test_old_signatures_are_renewed_by_a_publish_without_changes(workshop: Workshop) -> None:
    sign(workshop, look(workshop, manifest_of("a")))
    workshop.clock.advance(days=250)
    publication = look(workshop, manifest_of("a"))
    assert publication.renew
    assert not publication.changes
    state = sign(workshop, publication).state
    assert state.days_left(workshop.clock())["targets"] == 365
    assert serials(workshop) == {"a": 1}


def test_the_specs_lifetimes_are_signed_and_a_refresh_keeps_to_them(workshop: Workshop) -> None:
    request = PublishRequest(CLUSTER, None, Lifetimes(targets=90, snapshot=60, timestamp=3))
    state = sign(workshop, look(workshop, manifest_of("a"), request=request)).state
    days = {"root": 365, "targets": 90, "snapshot": 60, "timestamp": 3}
    assert dict(state.days_left(workshop.clock())) == days
    workshop.clock.advance(days=1)
    assert workshop.repository.refresh(workshop.signing).state.days_left(workshop.clock())["timestamp"] == 3


def test_another_clusters_spec_is_refused(workshop: Workshop) -> None:
    with pytest.raises(Invalid) as caught:
        look(workshop, request=PublishRequest("other.example.com", None, Lifetimes()))
    assert caught.value.code == "cluster-differs"


def test_a_spec_that_wants_another_kind_of_secrets_key_is_refused(workshop: Workshop) -> None:
    uri = "awskms:arn:aws:kms:eu-west-1:111122223333:key/a"
    with pytest.raises(Invalid) as caught:
        look(workshop, request=PublishRequest(CLUSTER, uri, Lifetimes()))
    assert caught.value.code == "secrets-key-differs"
    look(workshop, request=PublishRequest(CLUSTER, "local", Lifetimes()))


def test_five_hundred_groups_are_read_by_their_digests_without_fetching_one(workshop: Workshop) -> None:
    names = [f"group-{number}" for number in range(500)]
    plain = sample("node")
    manifests = [plain.model_copy(update={"group": plain.group.model_copy(update={"name": name})}) for name in names]
    sign(workshop, look(workshop, *manifests))
    fetched: list[str] = []

    class WatchedStoreDouble:
        """Notes every key that is read."""

        def __init__(self, store: Store) -> None:
            self._store = store
            self.url = store.url

        def get(self, key: str, **limits: int) -> object:
            fetched.append(key)
            return self._store.get(key, **limits)

        def __getattr__(self, name: str) -> object:
            return getattr(self._store, name)

    workshop.store = WatchedStoreDouble(workshop.store)  # type: ignore[assignment]
    assert look(workshop, *manifests).is_empty
    assert not [key for key in fetched if group_target("group-") in key or "/groups/" in key]
    assert len(fetched) == 6  # 2.root, timestamp, snapshot, targets, cluster.json, assets.json
