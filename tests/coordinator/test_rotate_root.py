"""`trust rotate root|targets|timestamp`: nodes follow without a gap, stolen keys end, and no crash leaves a half."""

import itertools
from pathlib import Path

import pytest

from coordinator.directory_store import DirectoryStore
from coordinator.layout import METADATA, metadata_key
from coordinator.root_keys import KeyPlan
from coordinator.rotation.roots import PENDING_FILE, Pending, RootRequest, RootTools, prepare_root, rotate_root
from coordinator.state import State
from coordinator.tuf_api import Root
from tests.coordinator.workshop import ClockDouble, Crash, Fuse, Workshop
from units.errors import BootwrightError, Invalid, Refused

pytestmark = pytest.mark.slow  # a new key file is stretched for real, at every crash point


def tools_of(workshop: Workshop) -> RootTools:
    return RootTools(
        store=workshop.store,
        directory=workshop.directory,
        signing=workshop.signing,
        passphrase=workshop.passphrase,
        kms_public_key=lambda uri: pytest.fail(f"no KMS key was named: {uri}"),
        clock=workshop.clock,
    )


def rotate(workshop: Workshop, role: str, **changes: object) -> State:
    return rotate_root(RootRequest(role, **changes), tools_of(workshop), by="tests")


def keyids(root: Root, role: str) -> set[str]:
    return set(root.roles[role].keyids)


@pytest.mark.parametrize(("role", "changed"), [("targets", {"targets"}), ("timestamp", {"snapshot", "timestamp"})])
def test_one_key_is_replaced_and_the_others_stay(workshop: Workshop, role: str, changed: set[str]) -> None:
    before = workshop.repository.read().root
    after = rotate(workshop, role).root
    assert after.version == before.version + 1
    for name in ("root", "targets", "snapshot", "timestamp"):
        assert (keyids(before, name).isdisjoint(keyids(after, name))) == (name in changed)
    assert keyids(after, "snapshot") == keyids(after, "timestamp")


def test_the_desk_publishes_on_with_the_new_key_and_without_the_old_file(workshop: Workshop) -> None:
    rotate(workshop, "targets")
    rotate(workshop, "timestamp")
    for old in ("targets.pem", "online.pem"):
        (workshop.directory.path / old).unlink()
    workshop.put_target("groups/a.json", b"{}")
    workshop.repository.refresh(workshop.signing)


def test_a_desk_with_the_old_key_only_is_told_which_one_is_missing(workshop: Workshop) -> None:
    rotate(workshop, "targets")
    (workshop.directory.path / "targets-v2.pem").unlink()
    with pytest.raises(Refused, match=r"targets-v2\.pem") as caught:
        workshop.put_target("groups/a.json", b"{}")
    assert caught.value.code == "signing-key-missing"


def test_of_several_root_keys_the_named_one_goes(tmp_path: Path, clock: ClockDouble) -> None:
    workshop = Workshop(tmp_path / "keys", DirectoryStore(tmp_path / "store"), clock)
    workshop.found(KeyPlan(root_keys=3, threshold=2))
    with pytest.raises(Invalid, match=r"root-1\.pem .*root-2\.pem .*root-3\.pem"):
        rotate(workshop, "root")
    before = workshop.repository.read().root
    after = rotate(workshop, "root", replaced="root-2.pem").root
    assert (len(keyids(after, "root")), after.roles["root"].threshold) == (3, 2)
    assert len(keyids(before, "root") & keyids(after, "root")) == 2
    (workshop.directory.path / "root-2.pem").unlink()
    (workshop.directory.path / "root-1.pem").unlink()
    assert rotate(workshop, "root", replaced="root-3.pem").root.version == 3  # root-3 and the new one are two of three


def test_below_the_threshold_of_the_old_root_nothing_is_made(tmp_path: Path, clock: ClockDouble) -> None:
    workshop = Workshop(tmp_path / "keys", DirectoryStore(tmp_path / "store"), clock)
    workshop.found(KeyPlan(root_keys=3, threshold=2))
    for name in ("root-1.pem", "root-2.pem"):
        (workshop.directory.path / name).unlink()
    before = sorted(path.name for path in workshop.directory.path.iterdir() if path.suffix == ".pem")
    with pytest.raises(Refused) as caught:
        rotate(workshop, "targets")
    assert caught.value.code == "signing-key-missing"
    assert sorted(path.name for path in workshop.directory.path.iterdir() if path.suffix == ".pem") == before
    assert workshop.repository.read().root.version == 1


def test_a_renewal_keeps_every_key_and_works_after_the_root_has_expired(workshop: Workshop) -> None:
    before = workshop.repository.read().root
    workshop.clock.advance(days=400)
    assert "root" in workshop.repository.read().expired(workshop.clock())
    after = rotate(workshop, "root", renew=True).root
    assert after.keys == before.keys
    assert not after.is_expired(workshop.clock())


def test_looking_makes_nothing(workshop: Workshop) -> None:
    def everything() -> dict[str, bytes]:
        files = {str(path): path.read_bytes() for path in workshop.directory.path.iterdir() if path.is_file()}
        return files | {item.key: b"" for item in workshop.store.list("")}

    workshop.repository.read()
    before = everything()
    planned = prepare_root(RootRequest("targets"), tools_of(workshop))
    assert (planned.goes, planned.comes) == (("file:targets.pem",), "file:targets-v2.pem")
    assert everything() == before


def test_a_key_file_cannot_take_over_from_kms_by_accident(workshop: Workshop) -> None:
    with pytest.raises(Invalid, match="awskms:ARN"):
        rotate(workshop, "targets", key="file:other.pem")


@pytest.mark.parametrize("role", ["root", "targets", "timestamp"])
@pytest.mark.parametrize("after", [False, True], ids=["before-the-write", "after-the-write"])
def test_a_crash_at_every_single_write_leaves_a_repository_that_verifies_and_heals(
    tmp_path: Path, clock: ClockDouble, role: str, after: bool
) -> None:
    for writes in itertools.count(1):
        place = tmp_path / f"{writes}"
        store = DirectoryStore(place / "store")
        Workshop(place / "keys", store, clock).found()
        struck = Workshop(place / "keys", store, clock, Fuse(writes, after=after))
        try:
            rotate(struck, role)
        except Crash:
            survivor = Workshop(place / "keys", store, clock)
            survivor.repository.verifier.state_as_of(clock())  # nodes saw no gap
            kept = survivor.directory.read(PENDING_FILE)
            if kept is not None and Pending.model_validate_json(kept).done:
                continue  # struck after the very last write: there is nothing left to finish
            finished = rotate(survivor, role)
            made = [path.name for path in survivor.directory.path.glob("*-v*.pem")]
            assert (finished.root.version, len(made)) == (2, 1)
            assert survivor.repository.verifier.state_as_of(clock()).root.version == 2
        else:
            assert writes > 3
            return


def test_a_refresh_with_the_old_key_between_our_signatures_and_our_root_is_healed(
    tmp_path: Path, clock: ClockDouble
) -> None:
    """The scheduled refresher runs at the worst moment: only its old signature is on the timestamp then."""
    store = DirectoryStore(tmp_path / "store")
    workshop = Workshop(tmp_path / "keys", store, clock)
    workshop.found()

    class RacedStoreDouble:
        def __init__(self) -> None:
            self.url, self.get, self.size, self.list = store.url, store.get, store.size, store.list
            self.put_file = store.put_file

        def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
            if key == metadata_key("root", 2):
                workshop.repository.refresh(workshop.signing)
            return store.put(key, body, if_none_match=if_none_match, if_match=if_match)

    raced = Workshop(tmp_path / "keys", RacedStoreDouble(), clock)
    assert rotate(raced, "timestamp").root.version == 2
    assert workshop.repository.verifier.state_as_of(clock()).root.version == 2


def test_a_root_that_somebody_else_published_first_stays(tmp_path: Path, clock: ClockDouble) -> None:
    store = DirectoryStore(tmp_path / "store")
    ours = Workshop(tmp_path / "keys", store, clock)
    ours.found()
    struck = Workshop(tmp_path / "keys", store, clock, Fuse(2, after=True))
    with pytest.raises(Crash):
        rotate(struck, "root")
    pending = ours.directory.read(PENDING_FILE)
    ours.directory.write(PENDING_FILE, b'{"role": "root", "renew": true, "version": 1, "root": "", "done": true}')
    theirs = rotate(ours, "root", renew=True).root_bytes
    assert pending is not None
    ours.directory.write(PENDING_FILE, pending)
    with pytest.raises(BootwrightError) as caught:
        rotate(ours, "root")
    assert caught.value.code == "root-overtaken"
    assert store.get(f"{METADATA}2.root.json").body == theirs
    assert rotate(ours, "root").root.version == 3
