"""`init`: whatever moment it is stopped at, running it again ends with one root, one set of CAs, one first state."""

import itertools
import threading
from pathlib import Path

import pytest

from coordinator.authorities import AUTHORITY_NAMES
from coordinator.directory_store import DirectoryStore
from coordinator.documents import ClusterDocument, decode_document
from coordinator.founding import Founded
from coordinator.layout import CLUSTER as CLUSTER_TARGET
from coordinator.passphrase import Passphrase
from coordinator.root_keys import KeyPlan
from coordinator.store import Store
from pki.authority import Authority
from pki.keys import PrivateKeyPem
from tests.coordinator.workshop import CLUSTER, LOCAL_KEY, ClockDouble, Crash, Fuse, Workshop
from units.envelope import authority_secret, decode_envelope, object_key, open_envelope, unwrap_locally
from units.errors import BootwrightError, Refused

pytestmark = pytest.mark.slow  # scrypt and every crash point


def keys_of(store: Store) -> list[str]:
    return [item.key for item in store.list("")]


def published_document(workshop: Workshop) -> ClusterDocument:
    state = workshop.repository.read()
    return decode_document(ClusterDocument, workshop.repository.read_target(state, CLUSTER_TARGET))


def require_consistent(workshop: Workshop, founded: Founded) -> None:
    """One root; every CA key in the store opens, and belongs to the certificate that is signed."""
    store = workshop.store
    assert [key for key in keys_of(store) if key.endswith(".root.json")] == ["tuf/metadata/1.root.json"]
    document = published_document(workshop)
    assert document == founded.document
    assert document.uid == founded.record.uid
    for authority in document.authorities:
        stored = store.get(object_key(authority_secret(authority.name)))
        assert stored is not None
        envelope = decode_envelope(stored.body)
        plain = open_envelope(envelope, data_key=unwrap_locally(envelope, local_key=LOCAL_KEY))
        assert Authority.load(authority.bundle.encode(), PrivateKeyPem(plain)).name == authority.name


def test_a_cluster_is_founded_and_verifies(workshop: Workshop, tmp_path: Path) -> None:
    document = published_document(workshop)
    assert document.name == CLUSTER
    assert [authority.name for authority in document.authorities] == list(AUTHORITY_NAMES)
    assert document.secrets_key.startswith("local:")
    state = workshop.repository.read()
    assert dict(state.versions) == {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 1}
    assert dict(state.days_left(workshop.clock())) == {"root": 365, "targets": 365, "snapshot": 365, "timestamp": 14}
    assert state.root.consistent_snapshot


def test_the_online_key_cannot_sign_content(workshop: Workshop) -> None:
    roles = workshop.repository.read().root.roles
    assert roles["snapshot"].keyids == roles["timestamp"].keyids
    assert not set(roles["targets"].keyids) & set(roles["snapshot"].keyids)
    assert not set(roles["root"].keyids) & set(roles["targets"].keyids + roles["snapshot"].keyids)


def test_two_of_three_root_keys_all_sign_the_first_root(tmp_path: Path, clock: ClockDouble) -> None:
    workshop = Workshop(tmp_path / "keys", DirectoryStore(tmp_path / "store"), clock)
    workshop.found(KeyPlan(root_keys=3, threshold=2))
    root = workshop.repository.read().root
    assert (len(root.roles["root"].keyids), root.roles["root"].threshold) == (3, 2)


def test_a_founded_cluster_is_not_founded_again(workshop: Workshop) -> None:
    before = {key: workshop.store.get(key) for key in keys_of(workshop.store)}
    with pytest.raises(Refused) as caught:
        workshop.found()
    assert caught.value.code == "already-initialised"
    assert {key: workshop.store.get(key) for key in keys_of(workshop.store)} == before


def test_a_stranger_with_other_keys_is_refused_before_any_key_is_made(workshop: Workshop, tmp_path: Path) -> None:
    stranger = Workshop(tmp_path / "other-keys", workshop.store, workshop.clock)
    with pytest.raises(Refused, match="holds no keys of it"):
        stranger.found()
    assert stranger.directory.read("root.json") is None


def test_an_unfinished_init_goes_on_only_with_the_same_settings(tmp_path: Path, clock: ClockDouble) -> None:
    store = DirectoryStore(tmp_path / "store")
    with pytest.raises(Crash):
        Workshop(tmp_path / "keys", store, clock, Fuse(3, after=True)).found()
    with pytest.raises(Refused) as caught:
        Workshop(tmp_path / "keys", store, clock).found(KeyPlan(root_keys=3, threshold=2))
    assert caught.value.code == "init-differs"
    assert "3 root keys" in caught.value.message


def test_an_unfinished_init_does_not_go_on_under_another_passphrase(tmp_path: Path, clock: ClockDouble) -> None:
    store = DirectoryStore(tmp_path / "store")
    with pytest.raises(Crash):
        Workshop(tmp_path / "keys", store, clock, Fuse(1, after=True)).found()
    again = Workshop(tmp_path / "keys", store, clock)
    again.passphrase = Passphrase("quite another passphrase")
    with pytest.raises(Refused, match="the passphrase does not open it"):
        again.found()


@pytest.mark.parametrize("after", [False, True], ids=["before-the-write", "after-the-write"])
def test_a_crash_at_every_single_write_heals_on_the_next_run(tmp_path: Path, clock: ClockDouble, after: bool) -> None:
    for writes in itertools.count(1):
        place = tmp_path / f"{writes}"
        store = DirectoryStore(place / "store")
        try:
            Workshop(place / "keys", store, clock, Fuse(writes, after=after)).found()
        except Crash:
            survivor = Workshop(place / "keys", store, clock)
            if not survivor.finished():
                require_consistent(survivor, survivor.found())
        else:
            assert writes > 20  # fewer would mean that the fuse sat on nothing
            return


def test_a_crash_in_every_run_heals_in_the_end(tmp_path: Path, clock: ClockDouble) -> None:
    """Each run gets a little further than the last one and dies; nothing is made twice on the way."""
    store = DirectoryStore(tmp_path / "store")
    roots, secrets = set(), set()
    for writes in range(1, 200, 4):  # every crash may leave orphans, each of which costs the next run a write
        try:
            founded = Workshop(tmp_path / "keys", store, clock, Fuse(writes, after=True)).found()
        except Crash:
            roots |= {stored.body for stored in [store.get("tuf/metadata/1.root.json")] if stored}
            secrets |= {stored.body for stored in [store.get(object_key("authority-kubernetes"))] if stored}
            if Workshop(tmp_path / "keys", store, clock).finished():
                break
            continue
        require_consistent(Workshop(tmp_path / "keys", store, clock), founded)
        break
    else:
        pytest.fail("it never came to an end")
    assert (len(roots), len(secrets)) == (1, 1)


def test_of_two_people_who_found_one_cluster_at_once_one_wins(tmp_path: Path, clock: ClockDouble) -> None:
    store = DirectoryStore(tmp_path / "store")
    both = [Workshop(tmp_path / f"keys-{number}", store, clock) for number in range(2)]
    start = threading.Barrier(2)
    outcomes: dict[int, Founded | BootwrightError] = {}

    def found(number: int) -> None:
        start.wait()
        try:
            outcomes[number] = both[number].found()
        except BootwrightError as error:
            outcomes[number] = error

    threads = [threading.Thread(target=found, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [number for number, outcome in outcomes.items() if isinstance(outcome, Founded)]
    losers = [outcome for outcome in outcomes.values() if isinstance(outcome, BootwrightError)]
    assert len(winners) == 1
    assert losers[0].code == "already-initialised"
    winner = outcomes[winners[0]]
    assert isinstance(winner, Founded)
    require_consistent(both[winners[0]], winner)


def test_a_secret_that_somebody_else_put_there_is_not_adopted(tmp_path: Path, clock: ClockDouble) -> None:
    store = DirectoryStore(tmp_path / "store")
    store.put(object_key("authority-kubernetes"), b"{}")
    with pytest.raises(Refused) as caught:
        Workshop(tmp_path / "keys", store, clock).found()
    assert caught.value.code == "secret-of-another"


def test_nothing_secret_lies_anywhere_in_the_clear(workshop: Workshop) -> None:
    plain_parts = [b"BEGIN PRIVATE KEY", b"BEGIN EC PRIVATE KEY", b"BEGIN RSA PRIVATE KEY", LOCAL_KEY]
    for name in AUTHORITY_NAMES:
        stored = workshop.store.get(object_key(authority_secret(name)))
        assert stored is not None
        envelope = decode_envelope(stored.body)
        plain = open_envelope(envelope, data_key=unwrap_locally(envelope, local_key=LOCAL_KEY))
        assert b"PRIVATE KEY" in plain  # the scan below looks for the real thing
        plain_parts += plain.splitlines()[1:-1]
    contents = [file.read_bytes() for file in workshop.directory.path.iterdir() if file.is_file()]
    contents += [stored.body for key in keys_of(workshop.store) if (stored := workshop.store.get(key))]
    assert len(contents) > 20
    assert not [part for part in plain_parts for content in contents if part in content]
