"""The publish algorithm: racing publishers, crashes at every write, orphans, lost answers (trust.md, P1 to P5, P9)."""

import contextlib
import itertools
import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coordinator.anchor import FLOOR_FILE, Anchor
from coordinator.directory_store import DirectoryStore
from coordinator.draft import Draft, NewTarget
from coordinator.layout import TIMESTAMP, metadata_key
from coordinator.repository import SLOTS
from coordinator.state import Lifetimes, State
from coordinator.store import Conflict, Store
from coordinator.verify import Verifier
from tests.coordinator.workshop import (
    CLUSTER,
    ClockDouble,
    Crash,
    CrashingStoreDouble,
    Fuse,
    Workshop,
    append_line,
)
from units.errors import Fatal, Refused

LOG = "groups/log.json"


def committed_lines(workshop: Workshop) -> list[str]:
    state = workshop.repository.read()
    if LOG not in state.targets.targets:
        return []
    return workshop.repository.read_target(state, LOG).decode().splitlines()


class AnswerLostDouble(CrashingStoreDouble):
    """The write goes through, and the SDK's own second try finds it there: 412 for one's own object."""

    def __init__(self, store: Store, lost: str) -> None:
        super().__init__(store, Fuse(10**9, after=True))
        self._lost = lost

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        etag = super().put(key, body, if_none_match=if_none_match, if_match=if_match)
        if key.endswith(self._lost) and (if_none_match or if_match):
            raise Conflict(key, "exists already")
        return etag


class OvertakenDouble(CrashingStoreDouble):
    """Right before the commit of the first try, somebody else commits."""

    def __init__(self, store: Store, other: Workshop, path: str) -> None:
        super().__init__(store, Fuse(10**9, after=True))
        self._other: Workshop | None = other
        self._path = path

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        if key == TIMESTAMP and self._other is not None:
            other, self._other = self._other, None
            other.put_target(self._path, b"theirs")
        return super().put(key, body, if_none_match=if_none_match, if_match=if_match)


def test_a_commit_is_read_back_with_the_versions_it_was_given(workshop: Workshop) -> None:
    committed = workshop.repository.commit(append_line(LOG, "one", workshop.repository), workshop.signing)
    assert committed is not None
    assert committed.tries == 1
    assert dict(committed.state.versions) == {"root": 1, "targets": 2, "snapshot": 2, "timestamp": 2}
    assert committed_lines(workshop) == ["one"]


def test_a_change_that_is_none_signs_nothing(workshop: Workshop) -> None:
    before = [item.key for item in workshop.store.list("")]
    assert workshop.repository.commit(lambda _state: None, workshop.signing) is None
    assert [item.key for item in workshop.store.list("")] == before


def test_a_commit_redoes_its_change_on_top_of_a_faster_one(workshop: Workshop, tmp_path: Path) -> None:
    other = Workshop(workshop.directory.path, workshop.store, workshop.clock)
    workshop.store = OvertakenDouble(workshop.store, other, "groups/theirs.json")
    committed = workshop.repository.commit(append_line(LOG, "ours", workshop.repository), workshop.signing)
    assert committed is not None
    assert committed.tries == 2
    assert set(committed.state.targets.targets) >= {"groups/theirs.json", LOG}
    # The first try left targets 2 and snapshot 2 behind, or took 3 when 2 was theirs; nobody's was overwritten.
    assert committed.state.timestamp.version == 3
    assert workshop.waits


def test_five_publishers_that_race_and_crash_lose_no_update(store: Store, tmp_path: Path, clock: ClockDouble) -> None:
    founder = Workshop(tmp_path / "keys", store, clock)
    founder.found()
    dice = random.Random(20261123)
    fuses = {(writer, line): dice.choice([None, 1, 2, 3, 4]) for writer in range(5) for line in range(4)}
    done = threading.Event()
    reads: list[State] = []

    def publish(writer: int) -> list[str]:
        sure = []
        for line in range(4):
            text, fuse = f"{writer}-{line}", fuses[writer, line]
            desk = Workshop(tmp_path / "keys", store, clock)
            if fuse is not None:
                desk.store = CrashingStoreDouble(store, Fuse(fuse, after=dice.random() < 0.5))
            try:
                desk.repository.commit(append_line(LOG, text, desk.repository), desk.signing)
            except Crash:
                continue
            sure.append(text)
        return sure

    def watch() -> None:
        while not done.is_set():
            reads.append(Verifier(store, founder.directory.read("root.json") or b"").state_as_of(clock()))

    reader = threading.Thread(target=watch)
    reader.start()
    with ThreadPoolExecutor(max_workers=5) as pool:
        sure = [line for lines in pool.map(publish, range(5)) for line in lines]
    done.set()
    reader.join()
    lines = Counter(committed_lines(founder))
    assert sure, "every publisher crashed: the test proves nothing"
    assert set(sure) <= set(lines)
    assert max(lines.values()) == 1
    assert len(reads) > 3
    versions = [state.timestamp.version for state in reads]
    assert versions == sorted(versions)


@pytest.mark.parametrize("after", [False, True], ids=["before-the-write", "after-the-write"])
def test_a_crash_at_every_write_of_a_commit_leaves_the_old_state_or_the_new_one(
    workshop: Workshop, after: bool
) -> None:
    expected: list[str] = []
    for writes in itertools.count(1):
        desk = Workshop(workshop.directory.path, workshop.store, workshop.clock, Fuse(writes, after=after))
        try:
            desk.repository.commit(append_line(LOG, f"crash {writes}", desk.repository), desk.signing)
        except Crash:
            lines = committed_lines(workshop)
            assert lines in (expected, [*expected, f"crash {writes}"])
            expected = lines
            survivor = Workshop(workshop.directory.path, workshop.store, workshop.clock)
            survivor.repository.commit(append_line(LOG, f"again {writes}", survivor.repository), survivor.signing)
            expected = [*expected, f"again {writes}"]
            assert committed_lines(workshop) == expected
        else:
            assert writes > 4  # target, targets, snapshot, timestamp, floor
            return


@pytest.mark.parametrize("lost", ["targets.json", "snapshot.json", "timestamp.json"])
def test_a_write_whose_answer_was_lost_counts_as_written(workshop: Workshop, lost: str) -> None:
    workshop.store = AnswerLostDouble(workshop.store, lost)
    committed = workshop.repository.commit(append_line(LOG, "one", workshop.repository), workshop.signing)
    assert committed is not None
    assert committed.tries == 1
    assert committed.state.targets.version == 2


class ForgetfulStoreDouble(CrashingStoreDouble):
    """Says yes to a write, and keeps something else."""

    def __init__(self, store: Store, part: str, kept: bytes | None) -> None:
        super().__init__(store, Fuse(10**9, after=True))
        self._part = part
        self._kept = kept

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        if self._part not in key:
            return super().put(key, body, if_none_match=if_none_match, if_match=if_match)
        return super().put(key, self._kept) if self._kept is not None else "etag"


@pytest.mark.parametrize(
    ("part", "kept", "code"),
    [
        (TIMESTAMP, None, "read-back-older"),
        (TIMESTAMP, b"{}", "repository-refused"),
        ("2.targets", None, "repository-incomplete"),
        ("2.snapshot", b"{}", "repository-refused"),
        ("log.json", None, "target-missing"),
        ("log.json", b"else", "target-tampered"),
    ],
)
def test_no_success_is_reported_before_everything_was_read_back(
    workshop: Workshop, part: str, kept: bytes | None, code: str
) -> None:
    workshop.store = ForgetfulStoreDouble(workshop.store, part, kept)
    with pytest.raises(Refused) as caught:
        workshop.put_target(LOG, b"content")
    assert caught.value.code == code


def test_orphans_of_crashed_publishers_are_stepped_over(workshop: Workshop) -> None:
    for version in (2, 3, 4):
        workshop.store.put(metadata_key("targets", version), b"orphan")
    workshop.store.put(metadata_key("snapshot", 2), b"orphan")
    workshop.put_target(LOG, b"x")
    assert dict(workshop.repository.read().versions) == {"root": 1, "targets": 5, "snapshot": 3, "timestamp": 2}


def test_a_store_filled_with_orphans_is_named_not_searched_for_ever(workshop: Workshop) -> None:
    for version in range(2, 2 + SLOTS):
        workshop.store.put(metadata_key("targets", version), b"orphan")
    with pytest.raises(Fatal, match="exist and none was ever committed"):
        workshop.put_target(LOG, b"x")


def test_a_damaged_target_is_healed_by_the_next_commit_of_the_same_content(workshop: Workshop) -> None:
    workshop.put_target(LOG, b"content")
    state = workshop.repository.read()
    key = NewTarget(b"content").key(LOG)
    workshop.store.put(key, b"damaged")
    with pytest.raises(Refused, match="is not what was signed"):
        workshop.repository.read_target(state, LOG)
    workshop.put_target(LOG, b"content")
    assert workshop.repository.read_target(workshop.repository.read(), LOG) == b"content"


def test_publish_and_refresh_at_the_same_time_lose_nothing(workshop: Workshop) -> None:
    def publish(number: int) -> None:
        desk = Workshop(workshop.directory.path, workshop.store, workshop.clock)
        desk.repository.commit(append_line(LOG, str(number), desk.repository), desk.signing)

    def refresh(_: int) -> None:
        desk = Workshop(workshop.directory.path, workshop.store, workshop.clock)
        desk.repository.refresh(desk.signing)

    with ThreadPoolExecutor(max_workers=4) as pool:
        futures = [pool.submit(publish if number % 2 else refresh, number) for number in range(12)]
        for future in futures:
            future.result()
    assert sorted(committed_lines(workshop), key=int) == ["1", "3", "5", "7", "9", "11"]


def test_a_refresh_needs_the_online_key_only_and_changes_no_content(workshop: Workshop) -> None:
    before = workshop.repository.read()
    for name in ("targets.pem", "root-1.pem"):
        (workshop.directory.path / name).unlink()
    workshop.clock.advance(days=10)
    state = workshop.repository.refresh(workshop.signing).state
    assert state.days_left(workshop.clock())["timestamp"] == 14
    assert (state.targets, state.snapshot.version) == (before.targets, before.snapshot.version)


def test_a_refresh_works_long_after_the_timestamp_expired(workshop: Workshop) -> None:
    workshop.clock.advance(days=40)
    assert workshop.repository.read().expired(workshop.clock()) == ("timestamp",)
    state = workshop.repository.refresh(workshop.signing).state
    assert state.expired(workshop.clock()) == ()


def test_a_refresh_renews_the_snapshot_before_it_expires(workshop: Workshop) -> None:
    workshop.clock.advance(days=260)
    state = workshop.repository.refresh(workshop.signing).state
    assert (state.snapshot.version, state.days_left(workshop.clock())["snapshot"]) == (2, 365)
    assert state.targets.version == 1


def test_a_refresh_cannot_make_expired_content_fresh(tmp_path: Path, clock: ClockDouble) -> None:
    workshop = Workshop(tmp_path / "keys", DirectoryStore(tmp_path / "store"), clock)
    workshop.found(lifetimes=Lifetimes(root=730))
    clock.advance(days=366)
    before = [item.key for item in workshop.store.list("")]
    with pytest.raises(Refused) as caught:
        workshop.repository.refresh(workshop.signing)
    assert caught.value.code == "targets-expired"
    assert "publish" in caught.value.remedy
    assert [item.key for item in workshop.store.list("")] == before
    workshop.put_target(LOG, b"the targets key makes it fresh again")
    assert workshop.repository.read().expired(clock()) == ()


def test_an_expired_root_is_said_before_anything_is_signed(workshop: Workshop) -> None:
    workshop.clock.advance(days=366)
    with pytest.raises(Refused) as caught:
        workshop.put_target(LOG, b"x")
    assert caught.value.code == "root-expired"


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_a_flipped_byte_in_any_metadata_is_refused(workshop: Workshop, role: str) -> None:
    key = TIMESTAMP if role == "timestamp" else metadata_key(role, 1)
    stored = workshop.store.get(key)
    assert stored is not None
    survived = []
    for position in range(0, len(stored.body), 13):
        flipped = bytearray(stored.body)
        flipped[position] ^= 0x01
        workshop.store.put(key, bytes(flipped))
        with contextlib.suppress(Refused):
            survived.append((position, workshop.repository.read()))
    if role == "root":
        # The trusted copy in the key directory counts; what lies in the store under its name is never read.
        assert len(survived) == len(range(0, len(stored.body), 13))
        return
    # Only the bytes of a name that nobody reads, or of a signature's unused spelling, may go unnoticed.
    original = workshop.directory.read(FLOOR_FILE)
    for _, state in survived:
        assert dict(state.versions) == {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 1}
    assert workshop.directory.read(FLOOR_FILE) == original


def test_an_older_but_genuine_state_is_refused_as_a_rollback(workshop: Workshop) -> None:
    old = workshop.store.get(TIMESTAMP)
    assert old is not None
    workshop.put_target(LOG, b"new")
    workshop.store.put(TIMESTAMP, old.body)
    with pytest.raises(Refused) as caught:
        workshop.put_target(LOG, b"newer")
    assert caught.value.code == "repository-rolled-back"
    assert "timestamp 1 < 2" in caught.value.message


def test_another_clusters_repository_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    other = Workshop(tmp_path / "other-keys", DirectoryStore(tmp_path / "other"), workshop.clock)
    other.found()
    other.store = workshop.store
    with pytest.raises(Refused) as caught:
        other.repository.read()
    assert caught.value.code == "repository-refused"


def test_without_the_trusted_root_nothing_in_the_store_is_believed(workshop: Workshop, tmp_path: Path) -> None:
    bare = Workshop(tmp_path / "bare", workshop.store, workshop.clock)
    bare.directory.prepare()
    with pytest.raises(Refused) as caught:
        bare.repository.read()
    assert caught.value.code == "trusted-root-missing"


def test_a_store_without_a_cluster_says_run_init(workshop: Workshop, tmp_path: Path) -> None:
    workshop.store = DirectoryStore(tmp_path / "empty")
    with pytest.raises(Refused) as caught:
        workshop.repository.read()
    assert caught.value.code == "repository-incomplete"
    assert "coordinator init" in caught.value.remedy


def test_an_error_of_the_store_is_told_as_it_was(workshop: Workshop) -> None:
    class DeniedDouble(CrashingStoreDouble):
        def get(self, key: str, *, limit: int = 0) -> None:
            raise Fatal("aws-access-denied", f"Amazon S3 denied s3:GetObject on {key}")

    workshop.store = DeniedDouble(workshop.store, Fuse(1, after=True))
    with pytest.raises(Fatal, match="denied s3:GetObject") as caught:
        workshop.repository.read()
    assert caught.value.code == "aws-access-denied"


def test_an_endless_object_is_not_read_to_its_end(workshop: Workshop) -> None:
    workshop.store.put(TIMESTAMP, b"x" * 20_000)
    with pytest.raises(Refused, match="DownloadLengthMismatchError"):
        workshop.repository.read()


def test_a_slower_command_neither_lowers_the_floor_nor_takes_a_publish_for_a_rollback(workshop: Workshop) -> None:
    anchor = Anchor(workshop.directory)
    floor = anchor.floor()
    slow = workshop.repository.verifier.state()
    workshop.put_target(LOG, b"meanwhile")
    anchor.remember(slow, floor=floor)
    assert anchor.floor() == {"root": 1, "targets": 2, "snapshot": 2, "timestamp": 2}


def test_a_damaged_floor_is_not_silently_given_up(workshop: Workshop) -> None:
    workshop.directory.write(FLOOR_FILE, b"[]")
    with pytest.raises(Fatal, match=r"floor\.json") as caught:
        workshop.repository.read()
    assert caught.value.code == "floor-damaged"


def test_the_note_is_signed_and_carries_on_from_commit_to_commit(workshop: Workshop) -> None:
    workshop.repository.commit(lambda _: Draft("first", "ann", serial=7), workshop.signing)
    workshop.repository.commit(lambda _: Draft("second", "bob"), workshop.signing)
    state = workshop.repository.read()
    assert (state.note.what, state.note.by, state.note.serial) == ("second", "bob", 7)
    assert state.note.previous is not None
    assert state.note.previous.version == 2


def test_python_tuf_still_lets_us_judge_expiry_by_our_own_clock(workshop: Workshop) -> None:
    """Contract test: `_trusted_set.reference_time` is private, and both directions rest on it."""
    verifier = workshop.repository.verifier
    assert verifier.state_as_of(workshop.clock()).timestamp.version == 1
    workshop.clock.advance(days=15)
    with pytest.raises(Refused) as caught:
        verifier.state_as_of(workshop.clock())
    assert caught.value.code == "repository-expired"
    assert verifier.state().timestamp.version == 1
    assert CLUSTER
