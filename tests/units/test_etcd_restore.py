"""A restore as each member decides it: from every state that a power cut may leave, and never over living data."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.units.etcd_member import ENVIRONMENT, KEY, MOUNT, THREE, Member, member, record_of
from tests.units.machines import Killed, tapped
from units.bootstrap_record import BootstrapRecord, RestoreFrom
from units.errors import Refused, Retryable
from units.etcd_generation import EtcdGeneration, EtcdRestore, HeldBackPods
from units.etcd_on_volume import on_volume
from units.etcd_restore import (
    DATA,
    MARK,
    Fetch,
    Identity,
    OnVolume,
    PutInPlace,
    SetAside,
    UpToDate,
    mark_of,
    next_step,
    read_mark,
)
from units.host import Record
from units.memory import MemoryClock, MemoryRecords

BACKUP = RestoreFrom(backup="2026-01-01T00:00:00Z-7", sha256="0" * 64, size=1056, revision=7)
SECOND = BootstrapRecord(
    state="restoring", generation=2, token="token-g2", volumes={}, created_by="operator", restore=BACKUP
)


def restore_of(one: Member) -> EtcdRestore:
    identity = Identity(one.name, f"https://{one.name}:2380", "a=https://a:2380")
    return EtcdRestore(one.claim, MOUNT, "bootwright-etcd-main.service", identity, "https://192.0.2.10:6443/livez")


def generation_of(one: Member) -> EtcdGeneration:
    return EtcdGeneration(one.claim, MOUNT, ("https://127.0.0.1:2379",))


def begin(records: MemoryRecords, record: BootstrapRecord) -> None:
    """What `coordinator etcd restore` does."""
    records.objects.pop(KEY, None)
    assert records.create(KEY, record.encode())


def old_member(name: str = "a", members: tuple[str, ...] = ("a",), records: MemoryRecords | None = None) -> Member:
    """One that formed, started, and was established in generation 1."""
    one = member(name, members, records)
    one.boot()
    one.machine.files.make_directory(f"{MOUNT}/{DATA}", mode=0o700, owner="etcd", group="etcd")
    one.machine.systemd.active.add("bootwright-etcd-main.service")
    one.machine.systemd.loaded["bootwright-etcd-main.service"] = ""
    one.ready = False  # the API server's health, too: nothing answers once it ended
    return one


def restored(one: Member) -> bool:
    content = one.machine.files.read(f"{MOUNT}/{DATA}/{MARK}")
    return content is not None and read_mark(content.content) == 2


def test_a_member_with_old_data_puts_it_aside_and_takes_the_backup() -> None:
    one = old_member()
    one.machine.files.write(
        "/etc/kubernetes/manifests/kube-apiserver.yaml", b"", mode=0o600, owner="root", group="root"
    )
    begin(one.records, SECOND)
    assert restore_of(one).check(one.machine.host) is not None
    restore_of(one).apply(one.machine.host)
    assert restore_of(one).check(one.machine.host) is None
    assert restored(one)
    names = one.machine.files.list(MOUNT)
    assert "data.g1" in names
    assert "restored.g2" not in names
    assert ".established" not in names
    assert one.machine.files.read("/etc/kubernetes/manifests/kube-apiserver.yaml") is None
    assert one.machine.files.list("/etc/kubernetes/held-back") == ["kube-apiserver.yaml"]
    assert "bootwright-etcd-main.service" in one.machine.systemd.active, "what it stopped it starts"
    HeldBackPods().apply(one.machine.host)
    assert one.machine.files.read("/etc/kubernetes/manifests/kube-apiserver.yaml") is not None
    assert HeldBackPods().check(one.machine.host) is None
    assert record_of(one.records).volumes == {"a": one.volume_id}
    assert one.decide() == "existing"


def test_the_record_is_established_again_once_the_restored_member_is_ready() -> None:
    one = old_member()
    begin(one.records, SECOND)
    restore_of(one).apply(one.machine.host)
    one.decide()
    generation_of(one).apply(one.machine.host)
    one.ready = True
    one.establish()
    record = record_of(one.records)
    assert (record.state, record.generation, record.started, record.restore) == ("established", 2, ("a",), BACKUP)


def test_a_blank_volume_is_filled_while_the_generation_begins() -> None:
    one = member("a", THREE)
    begin(one.records, SECOND)
    restore_of(one).apply(one.machine.host)
    assert restored(one)


def test_a_restore_begun_after_this_run_looked_for_one_grants_an_empty_member_no_start() -> None:
    """Seen on real etcd: started with `existing`, it left a database and no log, and the restore did not go over it."""
    one = member("a", THREE)
    assert restore_of(one).check(one.machine.host) is None
    begin(one.records, SECOND)
    with pytest.raises(Retryable) as caught:
        one.bootstrap.apply(one.machine.host)
    assert caught.value.code == "etcd-restore-begun"
    assert one.machine.files.read(f"{MOUNT}/.bootstrap.json") is None
    assert record_of(one.records) == SECOND


def test_what_etcd_makes_before_it_begins_a_log_is_put_aside_by_a_restore() -> None:
    one = member("a", THREE)
    one.machine.files.make_directory(f"{MOUNT}/{DATA}", mode=0o700, owner="etcd", group="etcd")
    one.machine.files.write(f"{MOUNT}/{DATA}/member/snap/db", b"", mode=0o600, owner="etcd", group="etcd")
    begin(one.records, SECOND)
    restore_of(one).apply(one.machine.host)
    assert restored(one)
    assert "data.g0" in one.machine.files.list(MOUNT)


def test_a_blank_volume_is_left_to_the_others_once_the_generation_stands() -> None:
    one = member("c", THREE)
    begin(one.records, SECOND.model_copy(update={"state": "established", "started": ("a", "b")}))
    assert restore_of(one).check(one.machine.host) is None


def test_a_member_that_was_away_takes_the_same_backup_although_the_generation_stands() -> None:
    one = old_member("c", THREE)
    begin(one.records, SECOND.model_copy(update={"state": "established", "started": ("a", "b")}))
    restore_of(one).apply(one.machine.host)
    assert restored(one)


def test_old_data_of_a_member_that_was_ready_in_this_generation_is_refused() -> None:
    one = old_member("c", THREE)
    begin(one.records, SECOND.model_copy(update={"state": "established", "started": ("a", "b", "c")}))
    with pytest.raises(Refused) as caught:
        restore_of(one).check(one.machine.host)
    assert caught.value.code == "etcd-volume-outdated"


def test_two_volumes_of_one_member_are_not_both_restored() -> None:
    records = MemoryRecords()
    begin(records, SECOND)
    first, second = member("a", THREE, records), member("a", THREE, records, volume_id="vol-other")
    restore_of(first).apply(first.machine.host)
    with pytest.raises(Refused) as caught:
        restore_of(second).apply(second.machine.host)
    assert caught.value.code == "etcd-volume-changed"


def test_without_a_restore_in_the_record_nothing_is_touched() -> None:
    one = old_member()
    assert restore_of(one).check(one.machine.host) is None


def test_a_store_that_cannot_be_reached_leaves_a_member_with_data_alone_and_stops_one_without() -> None:
    class Unreachable(MemoryRecords):
        def get(self, key: str):
            raise Retryable("s3-unreachable", key)

    one, blank = old_member(), member("a")
    for each in (one, blank):
        each.machine.records = Unreachable()
    assert restore_of(one).check(one.machine.host) is None
    with pytest.raises(Retryable):
        restore_of(blank).check(blank.machine.host)


@pytest.mark.parametrize("blank", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_a_restore_cut_at_any_call_is_finished_by_the_next_run(blank: bool, after: bool) -> None:
    calls = 0
    while True:
        one = member("a") if blank else old_member()
        begin(one.records, SECOND)
        left = calls

        def cut(_port: str, _method: str, _arguments: tuple[object, ...]) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        hooks = {"after": cut} if after else {"before": cut}
        try:
            restore_of(one).apply(tapped(one.machine.host, **hooks))
            whole = True
        except Killed:
            whole = False
        # A boot makes the directory before it comes to the restore.
        one.machine.files.make_directory(f"{MOUNT}/{DATA}", mode=0o700, owner="etcd", group="etcd")
        if not whole:
            restore_of(one).apply(one.machine.host)
        assert restored(one)
        assert restore_of(one).check(one.machine.host) is None
        if not blank:
            assert "bootwright-etcd-main.service" in one.machine.systemd.active
            aside = one.machine.files.read(f"{MOUNT}/data.g1/member/wal/0-0.wal")
            assert aside is not None, "the old data is gone"
        if whole:
            assert calls > 3
            return
        calls += 1


NAMES = st.frozensets(st.sampled_from(["data", "data.g1", "data.g2", "restored.g2", "restored.g3", "restored.g4"]))
VOLUMES = st.builds(
    lambda log, rest, **known: OnVolume(has_data=log, occupied=log or rest, **known),
    st.booleans(),
    st.booleans(),
    names=NAMES,
    data_generation=st.none() | st.integers(1, 4),
    attempted_generation=st.none() | st.integers(1, 4),
)
RECORDS = st.builds(
    lambda state, generation, started, restore: SECOND.model_copy(
        update={"state": state, "generation": generation, "started": started, "restore": restore}
    ),
    st.sampled_from(["bootstrapping", "restoring", "established"]),
    st.integers(1, 4),
    st.sampled_from([(), ("a",), ("b",)]),
    st.none() | st.just(BACKUP),
)


@given(RECORDS, VOLUMES)
def test_no_state_lets_living_data_be_renamed_over_or_discarded(record: BootstrapRecord, on: OnVolume) -> None:
    try:
        step = next_step(record, "a", on)
    except Refused:
        return
    if isinstance(step, SetAside):
        assert on.occupied
        assert on.generation < record.generation or not on.has_data
        assert step.folder not in on.names
    if isinstance(step, PutInPlace):
        assert not on.occupied
        assert step.folder in on.names
    if isinstance(step, Fetch):
        assert step.folder not in on.names
        assert all(name.startswith("restored.g") for name in step.stale)
    if on.has_data and on.generation >= record.generation:
        assert step == UpToDate()


@given(RECORDS, VOLUMES)
def test_the_steps_come_to_an_end(record: BootstrapRecord, on: OnVolume) -> None:
    """Played against what each step does to the volume."""
    for _ in range(6):
        try:
            step = next_step(record, "a", on)
        except Refused:
            return
        match step:
            case UpToDate():
                return
            case Fetch():
                on = replace(on, names=(on.names - set(step.stale)) | {step.folder})
            case SetAside():
                names = (on.names - {"data"}) | {step.folder}
                on = replace(on, names=names, has_data=False, occupied=False, data_generation=None)
            case PutInPlace():
                names = (on.names - {step.folder}) | {"data"}
                on = replace(on, names=names, has_data=True, occupied=True, data_generation=record.generation)
    pytest.fail("it never ends")


def test_a_mark_is_read_back_and_rubbish_is_none() -> None:
    assert read_mark(mark_of(SECOND)) == 2
    for rubbish in (None, b"", b"[]", b'{"generation": "2"}', b"{}", b"\xff"):
        assert read_mark(rubbish) is None


def test_the_first_ready_member_writes_the_token_into_its_cluster() -> None:
    one = member()
    one.decide()
    one.start_etcd()
    generation_of(one).apply(one.machine.host)
    assert generation_of(one).check(one.machine.host) is None
    assert one.machine.etcd_storage.generation_key("main", ()) == "token-g1"


@pytest.mark.parametrize("held", [None, "token-of-another"])
def test_an_established_cluster_without_its_token_is_refused(held: str | None) -> None:
    one = member()
    one.boot()
    if held:
        one.machine.etcd_storage.write_generation_key("main", (), None, held)
    assert generation_of(one).check(one.machine.host) is not None
    with pytest.raises(Refused) as caught:
        generation_of(one).apply(one.machine.host)
    assert caught.value.code == "etcd-wrong-generation"


def test_a_restored_cluster_gets_the_new_token_over_the_old_one() -> None:
    one = old_member()
    begin(one.records, SECOND)
    restore_of(one).apply(one.machine.host)
    assert one.machine.etcd_storage.generation_key("main", ()) not in (None, "token-g2")
    generation_of(one).apply(one.machine.host)
    assert one.machine.etcd_storage.generation_key("main", ()) == "token-g2"


def test_an_etcd_that_serves_no_keys_is_waited_for_and_named() -> None:
    one = member()
    one.decide()
    with pytest.raises(Retryable, match="serves no keys after 120 s") as caught:
        generation_of(one).apply(one.machine.host)
    assert caught.value.code == "etcd-not-ready"


def test_what_lies_on_a_volume_is_read_with_its_generations() -> None:
    one = old_member()
    assert on_volume(one.machine.host, MOUNT).generation == 1
    begin(one.records, SECOND)
    restore_of(one).apply(one.machine.host)
    assert on_volume(one.machine.host, MOUNT).generation == 2


@dataclass
class EventfulClock(MemoryClock):
    """Something happens once, after half a minute of waiting."""

    event: Callable[[], None] = lambda: None
    happened: bool = False

    def wait(self, seconds: float, reason: str) -> None:
        super().wait(seconds, reason)
        if self.ticks >= 30.0 and not self.happened:
            self.happened = True
            self.event()


@pytest.mark.parametrize("waiting", ["begun", "established", "generation"])
def test_a_wait_for_a_quorum_that_is_gone_for_good_ends_when_a_restore_is_begun(waiting: str) -> None:
    """Else the survivor of two lost volumes would sit out its two minutes, while the others are restored already."""
    one = old_member("a", THREE) if waiting == "established" else member("a", THREE)
    if waiting != "established":  # nothing begins, nothing serves
        one.decide()
    one.machine.clock = clock = EventfulClock(event=lambda: begin(one.records, SECOND))
    resource = {"begun": one.begun, "established": one.established, "generation": generation_of(one)}[waiting]
    with pytest.raises(Retryable) as stopped:
        resource.apply(one.machine.host)
    assert stopped.value.code == "etcd-restore-begun"
    assert clock.ticks < 40.0


@pytest.mark.parametrize("said", ["established", "generation"])
def test_a_member_of_the_old_generation_says_nothing_in_the_name_of_a_restore_begun_meanwhile(said: str) -> None:
    """Seen on real etcd: it called the new generation established, and every other member refused its volume."""
    one = old_member()
    one.ready = True
    assert one.machine.etcd_storage.write_generation_key("main", (), None, "token-g1")
    begin(one.records, SECOND)
    one.established.apply(one.machine.host)
    assert record_of(one.records) == SECOND, "of generation 1 it has been said already, of 2 it says nothing"
    one.machine.files.remove(f"{MOUNT}/.established")
    resource = {"established": one.established, "generation": generation_of(one)}[said]
    with pytest.raises(Retryable) as stopped:
        resource.apply(one.machine.host)
    assert stopped.value.code == "etcd-restore-begun"
    assert record_of(one.records) == SECOND
    assert one.machine.etcd_storage.generation_key("main", ()) == "token-g1"


class StoreDownDouble(MemoryRecords):
    """S3 that nobody reaches."""

    def get(self, key: str) -> Record | None:
        raise Retryable("s3-unreachable", key)


def test_a_member_that_was_established_comes_up_again_without_the_store() -> None:
    one = old_member()
    assert one.machine.etcd_storage.write_generation_key("main", (), None, "token-g1")
    generation_of(one).apply(one.machine.host)
    one.machine.files.remove(ENVIRONMENT)  # a reboot: /run is empty, and etcd is not up yet as each of these looks
    one.machine.records = StoreDownDouble()
    one.ready = True
    resources = (restore_of(one), one.bootstrap, one.begun, generation_of(one), one.established)
    for resource in resources:
        resource.apply(one.machine.host) if not isinstance(resource, EtcdRestore) else None
        assert resource.check(one.machine.host) is None


def test_without_the_store_nothing_passes_for_established_that_was_not() -> None:
    one = old_member()
    assert one.machine.etcd_storage.write_generation_key("main", (), None, "token-g1")
    generation_of(one).apply(one.machine.host)
    one.machine.records, one.ready = StoreDownDouble(), True
    assert one.machine.etcd_storage.write_generation_key("main", (), "token-g1", "of-another-cluster")
    with pytest.raises(Retryable, match=KEY):
        generation_of(one).apply(one.machine.host)
    one.machine.files.remove(f"{MOUNT}/.established")
    with pytest.raises(Retryable, match=KEY):
        one.established.apply(one.machine.host)


def test_a_mark_of_data_that_is_gone_is_no_mark_of_what_begins_in_its_place() -> None:
    one = member("b", THREE)
    one.machine.files.write(f"{MOUNT}/.established", b"1\n", mode=0o644, owner="root", group="root")
    one.boot()
    assert record_of(one.records).started == ("b",)
