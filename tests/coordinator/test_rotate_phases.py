"""`trust rotate ca|service-account`: the order of phases, what they wait for, and that no crash makes two keys."""

import itertools
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from coordinator.authorities import AUTHORITY_NAMES, SecretMaker
from coordinator.directory_store import DirectoryStore
from coordinator.documents import ClusterDocument, Rotation, decode_document
from coordinator.inputs import AssetCatalogue, PublicTrust
from coordinator.layout import CLUSTER as CLUSTER_TARGET
from coordinator.preview import GroupDiff, preview_group
from coordinator.publish import PublishRequest, prepare, publish
from coordinator.published import read_release
from coordinator.repository import Committed
from coordinator.rotation.publication import (
    PhaseRequest,
    PlannedPhase,
    RotationTools,
    prepare_phase,
    publish_phase,
)
from coordinator.rotation.waiting import Confirmations
from coordinator.secrets_key import LocalSecretsKey
from coordinator.state import Lifetimes
from coordinator.store import Store
from pki.certificate import load_certificates
from tests.coordinator.workshop import CLUSTER, LOCAL_KEY, ClockDouble, Crash, Fuse, Workshop
from tests.units.sample import manifest as sample
from units.envelope import decode_envelope, object_key, open_envelope, public_sha256, unwrap_locally
from units.errors import BootwrightError, Refused, Retryable
from units.manifest import Manifest
from units.status import CertificateState, Condition, NodeStatus, encode_status

GROUPS = {"cp-a": "control-plane", "workers": "node"}
ROTATED = (*AUTHORITY_NAMES, "service-account")
NOW = timedelta(0)


def manifest_of(group: str, public: PublicTrust) -> Manifest:
    plain = sample(GROUPS[group])
    trust = public.for_role(plain.group.role, issuer=plain.trust.service_account_issuer)
    return plain.model_copy(update={"group": plain.group.model_copy(update={"name": group}), "trust": trust})


def preview_double(before: Manifest | None, after: Manifest) -> GroupDiff:
    """Stands for the planner, which has its own tests."""
    return GroupDiff(after.group.name, ())


class Desk:
    """A workshop with two published groups, and nodes that say what they are told to."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop
        self.clock = workshop.clock

    @property
    def tools(self) -> RotationTools:
        def secrets(document: ClusterDocument) -> SecretMaker:
            key = LocalSecretsKey(LOCAL_KEY)
            return SecretMaker(self.workshop.directory, key, cluster=document.name, uid=document.uid, now=self.clock())

        return RotationTools(
            self.workshop.repository, Confirmations(self.workshop.directory), secrets, preview_double, self.clock
        )

    def publish_spec(self) -> Committed | None:
        def compiled(public: PublicTrust, _catalogue: AssetCatalogue) -> dict[str, Manifest]:
            return {group: manifest_of(group, public) for group in GROUPS}

        request = PublishRequest(CLUSTER, None, Lifetimes())
        publication = prepare(self.workshop.repository, request, compiled, preview_double, self.clock)
        if publication.is_empty:
            return None
        return publish(publication, self.workshop.repository, self.workshop.signing, by="tests", clock=self.clock)

    def look(self, name: str, phase: str, **changes: object) -> PlannedPhase | Rotation:
        return prepare_phase(PhaseRequest(name, phase, **{"settle": NOW, **changes}), self.tools)

    def rotate(self, name: str, phase: str, **changes: object) -> Committed | None:
        planned = self.look(name, phase, **changes)
        if isinstance(planned, Rotation):
            return None
        return publish_phase(planned, self.tools, self.workshop.signing, by="tests")

    def through(self, name: str, *phases: str) -> None:
        for phase in phases:
            self.say_ready()
            changes = {"after": timedelta(hours=1)} if name == "service-account" and phase == "retire" else {}
            if changes:
                with pytest.raises(Refused):  # this look is from when the hour counts
                    self.look(name, phase, **changes)
                self.clock.advance(hours=1)
            assert self.rotate(name, phase, **changes)
        self.say_ready()

    @property
    def document(self) -> ClusterDocument:
        state = self.workshop.repository.read()
        return decode_document(ClusterDocument, self.workshop.repository.read_target(state, CLUSTER_TARGET))

    def bundle(self, name: str) -> tuple[str, ...]:
        if name == "service-account":
            return self.document.service_account_keys
        return next(a.certificates for a in self.document.authorities if a.name == name)

    def secret(self, name: str) -> str:
        if name == "service-account":
            return self.document.service_account_secret
        return next(a.secret for a in self.document.authorities if a.name == name)

    def serial(self, group: str) -> int:
        return self.workshop.repository.read().groups[group].serial

    def say(self, instance: str, group: str, **changes: object) -> None:
        """A node's word: ready with its group's serial, unless told otherwise."""
        fields = {"stage": "ready", "serial": self.serial(group), "converged": "2026-01-01T00:00:00Z", **changes}
        status = NodeStatus(instance_id=instance, group=group, **fields)
        self.workshop.store.put(f"status/{instance}.json", encode_status(status))

    def say_ready(self) -> None:
        self.say("i-0c", "cp-a")
        self.say("i-0w", "workers")


@pytest.fixture
def desk(workshop: Workshop) -> Desk:
    made = Desk(workshop)
    made.publish_spec()
    made.say_ready()
    return made


def refused(act: Callable[[], object]) -> BootwrightError:
    with pytest.raises(BootwrightError) as caught:
        act()
    assert caught.value.remedy
    return caught.value


# --- what the phases do ---


@pytest.mark.parametrize("name", ROTATED)
def test_three_phases_replace_one_key_and_nothing_else(desk: Desk, name: str) -> None:
    others = {other: desk.bundle(other) for other in ROTATED if other != name}
    (old,), first = desk.bundle(name), desk.secret(name)
    desk.through(name, "add")
    assert desk.bundle(name)[0] == old
    assert desk.secret(name) == first
    _, new = desk.bundle(name)
    desk.through(name, "sign")
    assert desk.bundle(name) == (new, old)
    assert desk.secret(name) != first
    desk.through(name, "retire")
    assert desk.bundle(name) == (new,)
    assert {other: desk.bundle(other) for other in others} == others
    stored = desk.workshop.store.get(object_key(desk.secret(name)))
    assert stored is not None
    envelope = decode_envelope(stored.body)
    plain = open_envelope(envelope, data_key=unwrap_locally(envelope, local_key=LOCAL_KEY))
    spki = load_certificates(new.encode())[0].spki_sha256 if name != "service-account" else public_sha256(new.encode())
    assert public_sha256(plain) == spki == envelope.public_sha256


@pytest.mark.parametrize("name", ["kubernetes", "front-proxy"])
def test_a_phase_is_published_to_the_groups_it_concerns_in_one_commit(desk: Desk, name: str) -> None:
    before = desk.workshop.repository.read()
    committed = desk.rotate(name, "add")
    assert committed is not None
    state = desk.workshop.repository.read()
    assert state.targets.version == before.targets.version + 1
    changed = {group for group in GROUPS if state.groups[group].serial != before.groups[group].serial}
    assert changed == ({"cp-a", "workers"} if name == "kubernetes" else {"cp-a"})
    assert desk.document.rotation(name).serial == state.note.serial == desk.serial("cp-a")
    release = read_release(desk.workshop.repository, CLUSTER, state.groups["cp-a"])
    assert release.stable.trust.authority(name).certificates == desk.bundle(name)


@pytest.mark.parametrize("name", ROTATED)
def test_the_same_spec_published_after_each_phase_changes_nothing(desk: Desk, name: str) -> None:
    """A phase and an ordinary publish say the same: neither undoes the other."""
    for phase in ("add", "sign", "retire"):
        desk.through(name, phase)
        assert desk.publish_spec() is None


def test_a_second_rotation_follows_the_first(desk: Desk) -> None:
    desk.through("kubernetes", "add", "sign", "retire")
    (second,) = desk.bundle("kubernetes")
    desk.through("kubernetes", "add", "sign", "retire")
    (third,) = desk.bundle("kubernetes")
    assert third != second


def test_two_authorities_may_be_replaced_at_the_same_time(desk: Desk) -> None:
    desk.through("kubernetes", "add")
    desk.through("etcd-peers", "add")
    desk.through("kubernetes", "sign")
    desk.through("etcd-peers", "sign", "retire")
    desk.through("kubernetes", "retire")
    assert [len(desk.bundle(name)) for name in AUTHORITY_NAMES] == [1, 1, 1, 1]


def test_the_preview_shows_and_rehearses_the_real_change(desk: Desk) -> None:
    tools = desk.tools
    real = RotationTools(tools.repository, tools.confirmations, tools.secrets, preview_group, tools.clock)
    planned = prepare_phase(PhaseRequest("etcd-clients", "add", settle=NOW), real)
    assert isinstance(planned, PlannedPhase)
    ((change),) = planned.publication.changes
    keys = {item.key for item in change.items}
    assert "file:/etc/kubernetes/pki/ca/etcd-clients.crt" in keys
    assert {"unit:bootwright-etcd-main.service", "static-pod:kube-apiserver"} < keys
    assert not any(key.startswith("certificate:") for key in keys)


def test_looking_publishes_nothing_and_shows_the_key_that_is_published_later(desk: Desk) -> None:
    before = {item.key: desk.workshop.store.get(item.key) for item in desk.workshop.store.list("")}
    first, second = desk.look("kubernetes", "add"), desk.look("kubernetes", "add")
    assert {item.key: desk.workshop.store.get(item.key) for item in desk.workshop.store.list("")} == before
    assert isinstance(first, PlannedPhase)
    assert isinstance(second, PlannedPhase)
    assert first.successor == second.successor
    desk.rotate("kubernetes", "add")
    assert desk.bundle("kubernetes")[1] == first.successor.public


# --- the order of phases ---


@pytest.mark.parametrize(
    ("done", "asked", "following"),
    [((), "sign", "add"), ((), "retire", "add"), (("add",), "retire", "sign"), (("add", "sign"), "add", "retire")],
)
def test_a_phase_out_of_order_is_told_which_one_is_next(
    desk: Desk, done: tuple[str, ...], asked: str, following: str
) -> None:
    desk.through("kubernetes", *done)
    error = refused(lambda: desk.rotate("kubernetes", asked))
    assert (error.code, error.exit_code) == ("rotation-order", 3)
    assert f"trust rotate ca kubernetes --phase {following}" in error.remedy


def test_a_finished_rotation_has_nothing_to_sign(desk: Desk) -> None:
    desk.through("kubernetes", "add", "sign", "retire")
    assert refused(lambda: desk.rotate("kubernetes", "sign")).code == "rotation-order"


@pytest.mark.parametrize("phase", ["add", "sign", "retire"])
def test_a_phase_that_is_published_is_not_published_again(desk: Desk, phase: str) -> None:
    desk.through("etcd-peers", *("add", "sign", "retire")[: ("add", "sign", "retire").index(phase) + 1])
    before = desk.workshop.repository.read().timestamp.version
    assert desk.rotate("etcd-peers", phase) is None
    assert desk.workshop.repository.read().timestamp.version == before


# --- what a phase waits for ---

WAITING = Condition(code="issuer-unreachable", message="no issuer answers", since="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ({"serial": 1}, "has serial 1"),
        ({"stage": "retrying", "conditions": (WAITING,)}, "issuer-unreachable: no issuer answers"),
        ({"stage": "refused"}, "is refused"),
        ({"conditions": (WAITING.model_copy(update={"severity": "warning"}),)}, "issuer-unreachable"),
        ({"converged": ""}, "is applying serial"),
        ({"group": "left"}, "'left' is not published any more"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_node_that_has_not_confirmed_holds_the_next_phase_up(desk: Desk, word: dict, reason: str) -> None:
    desk.through("kubernetes", "add")
    status = {"instance_id": "i-0w", "group": "workers", "stage": "ready", "serial": desk.serial("workers")}
    node = NodeStatus(**{**status, "converged": "2026-01-01T00:00:00Z", **word})
    desk.workshop.store.put("status/i-0w.json", encode_status(node))
    error = refused(lambda: desk.rotate("kubernetes", "sign"))
    assert (error.code, error.exit_code) == ("rotation-unconfirmed", 3)
    assert "i-0w" in error.message
    assert reason in error.message
    assert "i-0c" not in error.message
    assert desk.rotate("kubernetes", "sign", ignored=frozenset({"i-0w"}))


def test_a_silent_node_holds_it_up_until_it_is_ignored(desk: Desk) -> None:
    desk.through("kubernetes", "add")
    assert isinstance(desk.look("kubernetes", "sign"), PlannedPhase)
    desk.clock.advance(minutes=90)
    error = refused(lambda: desk.rotate("kubernetes", "sign", ignored=frozenset({"i-0c"})))
    assert "i-0w (workers): was last heard of " in error.message
    assert desk.rotate("kubernetes", "sign", ignored=frozenset({"i-0c", "i-0w"}))


def test_a_status_that_cannot_be_read_holds_it_up(desk: Desk) -> None:
    desk.through("kubernetes", "add")
    desk.workshop.store.put("status/i-0w.json", b"{")
    assert "its status cannot be read" in refused(lambda: desk.rotate("kubernetes", "sign")).message


def test_a_group_that_does_not_trust_the_authority_has_nothing_to_confirm(desk: Desk) -> None:
    desk.rotate("etcd-peers", "add")
    desk.say("i-0c", "cp-a")
    desk.say("i-0w", "workers", stage="retrying")
    assert desk.rotate("etcd-peers", "sign")


def test_the_next_rotation_waits_for_the_last_ones_retire(desk: Desk) -> None:
    desk.through("kubernetes", "add", "sign", "retire")
    desk.say("i-0w", "workers", serial=desk.serial("workers") - 1)
    assert refused(lambda: desk.rotate("kubernetes", "add")).code == "rotation-unconfirmed"


def leaf(signer: str, *, authority: bool = False) -> CertificateState:
    return CertificateState(
        path="/etc/kubernetes/pki/kubelet/client.pem",
        subject="system:node:a",
        issuer="kubernetes-ca",
        signer=signer,
        not_after="2027-01-01T00:00:00Z",
        days_left=300,
        life_left=0.9,
        renews="2026-08-01T00:00:00Z",
        authority=authority,
    )


def test_no_certificate_of_the_old_authority_survives_its_retirement(desk: Desk) -> None:
    """Both have one common name; the key identifier tells them apart."""
    desk.through("kubernetes", "add", "sign")
    new, old = (load_certificates(pem.encode())[0].key_identifier for pem in desk.bundle("kubernetes"))
    desk.say("i-0w", "workers", certificates=(leaf(old[:16]),))
    error = refused(lambda: desk.rotate("kubernetes", "retire"))
    assert "i-0w (workers): still has certificates of the old kubernetes-ca" in error.message
    desk.say("i-0w", "workers", certificates=(leaf(""),))
    assert "does not say by which key" in refused(lambda: desk.rotate("kubernetes", "retire")).message
    desk.say("i-0w", "workers", certificates=(leaf(new[:16]), leaf(old[:16], authority=True)))
    assert desk.rotate("kubernetes", "retire")


def test_what_restarts_on_a_node_is_given_time(desk: Desk) -> None:
    desk.through("kubernetes", "add")
    settle = timedelta(minutes=6)
    error = refused(lambda: desk.rotate("kubernetes", "sign", settle=settle))
    assert (error.code, error.exit_code) == ("rotation-settling", 4)
    desk.clock.advance(minutes=5)
    assert refused(lambda: desk.rotate("kubernetes", "sign", settle=settle)).code == "rotation-settling"
    desk.clock.advance(minutes=1)
    assert desk.rotate("kubernetes", "sign", settle=settle)


def test_a_phase_without_its_envelope_in_the_store_is_not_published(desk: Desk, tmp_path: Path) -> None:
    desk.through("front-proxy", "add")
    (file,) = (tmp_path / "store" / "secrets").rglob("authority-front-proxy-*.json")
    other = (tmp_path / "store" / object_key("authority-front-proxy")).read_bytes()
    for damage in (file.unlink, lambda: file.write_bytes(other)):
        damage()
        assert refused(lambda: desk.rotate("front-proxy", "sign")).code == "rotation-secret-missing"


# --- tokens ---


def test_tokens_of_the_old_key_must_have_expired(desk: Desk) -> None:
    desk.through("service-account", "add", "sign")
    error = refused(lambda: desk.rotate("service-account", "retire"))
    assert (error.code, error.exit_code) == ("token-life-unconfirmed", 3)
    assert "--after 1h" in error.remedy
    short = refused(lambda: desk.rotate("service-account", "retire", after=timedelta(minutes=5)))
    assert short.code == "token-life-unconfirmed"
    waiting = refused(lambda: desk.rotate("service-account", "retire", after=timedelta(hours=2)))
    assert (waiting.code, waiting.exit_code) == ("token-life-not-over", 3)
    desk.clock.advance(minutes=119)
    desk.clock.advance(minutes=-60)  # keeps the nodes' word fresh
    assert refused(lambda: desk.rotate("service-account", "retire", after=timedelta(hours=1))).code.endswith("not-over")
    desk.clock.advance(minutes=1)
    assert desk.rotate("service-account", "retire", after=timedelta(hours=1))


def test_the_hour_counts_from_when_the_last_node_was_seen_to_confirm(desk: Desk) -> None:
    """Until then one API server may still sign with the old key."""
    desk.through("service-account", "add")
    desk.rotate("service-account", "sign")
    desk.clock.advance(minutes=60)
    assert refused(lambda: desk.rotate("service-account", "retire", after=timedelta(hours=1))).code == (
        "rotation-unconfirmed"
    )
    desk.say_ready()
    error = refused(lambda: desk.rotate("service-account", "retire", after=timedelta(hours=1)))
    assert error.code == "token-life-not-over"


# --- crashes and races ---


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kubernetes", "service-account"])
@pytest.mark.parametrize("after", [False, True], ids=["before-the-write", "after-the-write"])
def test_a_crash_at_every_single_write_of_a_phase_heals_and_makes_one_key(
    tmp_path: Path, clock: ClockDouble, name: str, after: bool
) -> None:
    for writes in itertools.count(1):
        place = tmp_path / f"{writes}"
        store = DirectoryStore(place / "store")
        whole = Desk(Workshop(place / "keys", store, clock))
        whole.workshop.found()
        whole.publish_spec()
        whole.say_ready()
        struck = Desk(Workshop(place / "keys", store, clock, Fuse(writes, after=after)))
        try:
            struck.rotate(name, "add")
        except Crash:
            whole.workshop.repository.verifier.state_as_of(clock())
            whole.rotate(name, "add")  # either finishes, or finds it done
            assert len(whole.bundle(name)) == 2
            first = name if name == "service-account" else f"authority-{name}"
            assert len(list((place / "store" / "secrets").rglob(f"{first}*.json"))) == 2
            assert len(list((place / "keys").glob(f"sealed-{first}-after-*.json"))) == 1
            whole.through(name, "sign")
        else:
            assert writes > 6
            return


def test_a_publish_meanwhile_is_not_overwritten(desk: Desk) -> None:
    planned = desk.look("kubernetes", "add")
    desk.rotate("front-proxy", "add")
    assert isinstance(planned, PlannedPhase)
    with pytest.raises(Retryable) as caught:
        publish_phase(planned, desk.tools, desk.workshop.signing, by="tests")
    assert caught.value.code == "rotation-overtaken"
    assert len(desk.bundle("kubernetes")) == 1


def test_another_desk_goes_on_where_the_first_one_was(desk: Desk, tmp_path: Path) -> None:
    """Only `add` makes a key; any desk with the signing keys can do the rest."""
    desk.through("kubernetes", "add")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    for name in ("root.json", "floor.json", "targets.pem", "online.pem"):
        (elsewhere / name).write_bytes((tmp_path / "keys" / name).read_bytes())
    other = Desk(Workshop(elsewhere, desk.workshop.store, desk.clock))
    other.through("kubernetes", "sign", "retire")
    assert len(other.bundle("kubernetes")) == 1


def test_a_desk_whose_successor_was_not_chosen_does_not_offer_it_later(desk: Desk, tmp_path: Path) -> None:
    """Two desks look at `add`; the key that was not published is never trusted by a later rotation of another key."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    for name in ("root.json", "floor.json", "targets.pem", "online.pem"):
        (elsewhere / name).write_bytes((tmp_path / "keys" / name).read_bytes())
    other = Desk(Workshop(elsewhere, desk.workshop.store, desk.clock))
    stale = other.look("kubernetes", "add")
    desk.through("kubernetes", "add", "sign", "retire")
    fresh = other.look("kubernetes", "add")
    assert isinstance(stale, PlannedPhase)
    assert isinstance(fresh, PlannedPhase)
    assert stale.successor.public != fresh.successor.public


def test_phases_over_s3(store: Store, tmp_path: Path, clock: ClockDouble) -> None:
    desk = Desk(Workshop(tmp_path / "keys", store, clock))
    desk.workshop.found()
    desk.publish_spec()
    desk.through("kubernetes", "add", "sign", "retire")
    assert len(desk.bundle("kubernetes")) == 1
