"""How an etcd member starts, case by case: etcd-pki.md 2.3 and 2.4. `new` once in a cluster's life, and never again."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.units.machines import empty_machine
from units.bootstrap_record import BootstrapRecord, InitialState, decode_record, initial_state
from units.converge import converge
from units.errors import Refused, Retryable
from units.host import Answer, FileState, HeldVolume, Record, VolumeClaim
from units.membership import HEALTH_SECONDS, EtcdBootstrap, EtcdEstablished
from units.memory import MemoryHost, MemoryRecords
from units.plan import Plan

THREE, ONE = ("a", "b", "c"), ("a",)
MOUNT, ENVIRONMENT, KEY = "/var/lib/etcd/main", "/run/bootwright/etcd-main.env", "etcd/main/cluster.json"
WAL = f"{MOUNT}/data/member/wal/0-0.wal"
URL = "http://127.0.0.1:2381/readyz"


@dataclass
class Member:
    """One member's machine with its volume mounted, and etcd as far as these resources see it."""

    name: str
    members: tuple[str, ...]
    records: MemoryRecords
    volume_id: str = ""
    ready: bool = True
    machine: MemoryHost = field(init=False)

    def __post_init__(self) -> None:
        self.machine = empty_machine()
        self.machine.records = self.records
        self.volume_id = self.volume_id or f"vol-{self.name}"
        self.machine.volumes.attached["main"] = HeldVolume(self.volume_id, self.name, "/dev/memory-main")
        self.machine.files.mounted[MOUNT] = {}
        self.machine.probes.get = lambda _url: Answer(200, "ok") if self.ready else None  # type: ignore[method-assign]

    @property
    def claim(self) -> VolumeClaim:
        return VolumeClaim("prod.example.com", "main", self.members, (self.name,), 1)

    @property
    def bootstrap(self) -> EtcdBootstrap:
        return EtcdBootstrap(self.claim, MOUNT, ENVIRONMENT, "token-g1", f"i-{self.name}")

    @property
    def established(self) -> EtcdEstablished:
        return EtcdEstablished(self.claim, MOUNT, ENVIRONMENT, URL)

    def decide(self) -> str:
        self.bootstrap.apply(self.machine.host)
        assert self.bootstrap.check(self.machine.host) is None
        return self.granted

    @property
    def granted(self) -> str:
        content = self.machine.files.entries[ENVIRONMENT].content
        assert content is not None
        return content.decode().strip().removeprefix("INITIAL_CLUSTER_STATE=")

    def start_etcd(self) -> None:
        self.machine.files.write(WAL, b"", mode=0o600, owner="etcd", group="etcd")

    def establish(self) -> None:
        self.established.apply(self.machine.host)
        assert self.established.check(self.machine.host) is None

    def boot(self) -> None:
        self.decide()
        self.start_etcd()
        self.establish()

    def lose_data(self) -> None:
        self.machine.files.mounted[MOUNT].clear()


def member(
    name: str = "a", members: tuple[str, ...] = ONE, records: MemoryRecords | None = None, **more: str
) -> Member:
    return Member(name, members, MemoryRecords() if records is None else records, **more)


def record_of(records: MemoryRecords) -> BootstrapRecord:
    return decode_record(records.objects[KEY].content, KEY)


# --- one member ---


def test_the_first_start_of_a_new_cluster_is_new_and_leaves_a_record_and_a_mark() -> None:
    only = member()
    assert only.decide() == "new"
    record = record_of(only.records)
    assert record.state == "bootstrapping"
    assert record.volumes == {"a": "vol-a"}
    assert record.created_by == "i-a"
    assert b'"attempted": true' in (only.machine.files.mounted[MOUNT]["/.bootstrap.json"].content or b"")


def test_once_etcd_is_ready_the_record_is_established_and_permission_to_begin_anew_is_gone() -> None:
    only = member()
    only.boot()
    record = record_of(only.records)
    assert (record.state, record.started) == ("established", ("a",))
    assert only.granted == "existing"


def test_a_second_run_changes_nothing() -> None:
    only = member()
    only.boot()
    report = converge(Plan((only.bootstrap, only.established)), only.machine.host)
    assert report.failure is None
    assert report.changed == ()


def test_a_machine_that_takes_over_the_volume_starts_with_existing() -> None:
    first = member()
    first.boot()
    second = member(records=first.records)
    second.machine.files.mounted = first.machine.files.mounted
    assert second.decide() == "existing"


def test_lost_data_on_an_established_cluster_is_refused() -> None:
    # Measured: with `new` a single member starts empty, without any error (2.3).
    only = member()
    only.boot()
    only.lose_data()
    with pytest.raises(Refused) as refused:
        only.decide()
    assert refused.value.code == "etcd-volume-lost"
    assert only.granted == "existing"


def test_lost_data_is_noticed_even_while_permission_to_begin_anew_still_lies_there() -> None:
    only = member()
    only.decide()
    grant = only.machine.files.entries[ENVIRONMENT]
    only.start_etcd()
    only.establish()
    only.lose_data()
    only.machine.files.entries[ENVIRONMENT] = grant  # as after a crash before it was withdrawn
    report = converge(Plan((only.bootstrap,)), only.machine.host)
    assert report.failure is not None
    assert report.failure.code == "etcd-volume-lost"


def test_another_empty_volume_for_an_established_member_is_refused_and_the_right_one_is_named() -> None:
    member().boot()
    records = MemoryRecords()
    member(records=records).boot()
    with pytest.raises(Refused) as refused:
        member(records=records, volume_id="vol-other").decide()
    assert refused.value.code == "etcd-volume-lost"
    assert "vol-a" in refused.value.message
    assert record_of(records).volumes == {"a": "vol-a"}


def test_another_volume_while_the_cluster_forms_is_refused_with_a_way_out() -> None:
    records = MemoryRecords()
    member(records=records).decide()
    with pytest.raises(Refused) as refused:
        member(records=records, volume_id="vol-other").decide()
    assert refused.value.code == "etcd-volume-changed"
    assert KEY in refused.value.remedy


def test_a_crash_between_the_mark_and_etcds_first_write_heals() -> None:
    only = member()
    only.decide()
    only.machine.files.remove(ENVIRONMENT)  # a reboot: /run is empty
    assert only.bootstrap.check(only.machine.host) is not None
    assert only.decide() == "new"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"state": "established"}',
        b'{"state": "done", "generation": 1, "token": "t", "volumes": {}, "created_by": "i"}',
        b'{"state": "established", "generation": 1, "token": "t", "volumes": {}, "created_by": "i", "more": 1}',
        b"\xff\xfe",
    ],
)
def test_an_unreadable_record_is_refused_never_replaced(content: bytes) -> None:
    only = member()
    only.records.objects[KEY] = Record(content, "etag")
    for act in (only.decide, only.establish, lambda: only.bootstrap.check(only.machine.host)):
        with pytest.raises(Refused) as refused:
            act()
        assert refused.value.code == "etcd-record-unreadable"
        assert "never delete it" in refused.value.remedy
    assert only.records.objects[KEY].content == content


def test_a_record_that_is_gone_after_the_start_is_refused_and_not_made_anew() -> None:
    only = member()
    only.decide()
    only.start_etcd()
    only.records.objects.clear()
    with pytest.raises(Refused) as refused:
        only.establish()
    assert refused.value.code == "etcd-record-missing"
    assert only.records.objects == {}


def test_without_its_volume_a_member_decides_nothing() -> None:
    only = member()
    only.machine.volumes.attached.clear()
    assert only.bootstrap.check(only.machine.host) is not None
    with pytest.raises(Retryable) as later:
        only.bootstrap.apply(only.machine.host)
    assert later.value.code == "etcd-volume-missing"
    assert only.records.objects == {}


def test_an_etcd_that_does_not_become_ready_is_waited_for_a_bounded_time_with_a_name() -> None:
    only = member()
    only.ready = False
    only.decide()
    with pytest.raises(Retryable) as later:
        only.established.apply(only.machine.host)
    assert later.value.code == "etcd-not-ready"
    assert only.machine.clock.ticks == HEALTH_SECONDS
    assert {wait.partition(":")[0] for wait in only.machine.clock.waits} == {"etcd main"}
    assert record_of(only.records).state == "bootstrapping"


def test_what_etcd_answers_while_it_is_not_ready_is_shown() -> None:
    only = member()
    only.decide()
    only.machine.probes.get = lambda _url: Answer(503, "[-]non_learner failed")  # type: ignore[method-assign]
    with pytest.raises(Retryable, match=r"HTTP 503: \[-\]non_learner failed"):
        only.established.apply(only.machine.host)


# --- three members ---


def test_three_members_start_with_new_under_one_token_and_are_all_listed() -> None:
    records = MemoryRecords()
    three = [member(name, THREE, records) for name in THREE]
    assert [each.decide() for each in three] == ["new", "new", "new"]
    assert record_of(records).volumes == {"a": "vol-a", "b": "vol-b", "c": "vol-c"}
    assert record_of(records).token == "token-g1"


@pytest.mark.parametrize("registered", [False, True], ids=["never seen", "registered, not started"])
def test_a_member_that_comes_after_the_others_have_formed_the_quorum_joins_with_existing(registered: bool) -> None:
    # Measured on etcd 3.4.23 and 3.5.16: it fetches the log from the leader.
    records = MemoryRecords()
    late = member("c", THREE, records)
    if registered:
        assert late.decide() == "new"
    for name in ("a", "b"):
        member(name, THREE, records).boot()
    assert late.bootstrap.check(late.machine.host) is not None
    assert late.decide() == "existing"
    late.start_etcd()
    late.establish()
    assert record_of(records).started == THREE
    assert record_of(records).volumes["c"] == "vol-c"


def test_a_member_that_was_ready_once_and_lost_its_data_is_refused_though_the_others_live() -> None:
    # Measured: `existing` with lost data panics in a crash loop, `new` with a survivor down forms an empty cluster.
    records = MemoryRecords()
    three = [member(name, THREE, records) for name in THREE]
    for each in three:
        each.boot()
    three[1].lose_data()
    with pytest.raises(Refused) as refused:
        three[1].decide()
    assert refused.value.code == "etcd-volume-lost"


def test_two_of_three_that_lose_their_data_are_both_refused() -> None:
    # Case E2 of 2.3: with `new` they would form a fresh, empty cluster with the same id.
    records = MemoryRecords()
    three = [member(name, THREE, records) for name in THREE]
    for each in three:
        each.boot()
    for each in three[:2]:
        each.lose_data()
        with pytest.raises(Refused):
            each.decide()


def test_a_late_member_with_a_volume_that_is_not_its_own_is_refused() -> None:
    records = MemoryRecords()
    member("c", THREE, records).decide()
    for name in ("a", "b"):
        member(name, THREE, records).boot()
    with pytest.raises(Refused) as refused:
        member("c", THREE, records, volume_id="vol-other").decide()
    assert refused.value.code == "etcd-volume-lost"


# --- the decision as a table ---


def recorded(state: str, volumes: dict[str, str], started: tuple[str, ...] = ()) -> BootstrapRecord:
    return BootstrapRecord.model_validate(
        {"state": state, "generation": 1, "token": "t", "volumes": volumes, "started": started, "created_by": "i"}
    )


def decision(record: BootstrapRecord, members: tuple[str, ...]) -> InitialState | str:
    try:
        return initial_state(record, etcd="main", member="a", members=members, volume_id="vol-a")
    except Refused as refused:
        return refused.code


TABLE = [
    ("bootstrapping", {}, (), ONE, "new"),
    ("bootstrapping", {"a": "vol-a"}, (), ONE, "new"),
    ("bootstrapping", {"b": "vol-b"}, (), THREE, "new"),
    ("bootstrapping", {"a": "vol-x"}, (), THREE, "etcd-volume-changed"),
    ("established", {"a": "vol-a"}, ("a",), ONE, "etcd-volume-lost"),
    ("established", {"a": "vol-a"}, (), ONE, "etcd-volume-lost"),
    ("established", {}, (), ONE, "etcd-volume-lost"),
    ("established", {"a": "vol-a", "b": "vol-b"}, ("b",), THREE, "existing"),
    ("established", {"b": "vol-b"}, ("b",), THREE, "existing"),
    ("established", {"a": "vol-x", "b": "vol-b"}, ("b",), THREE, "etcd-volume-lost"),
    ("established", {"a": "vol-a", "b": "vol-b"}, ("a", "b"), THREE, "etcd-volume-lost"),
]


@pytest.mark.parametrize(("state", "volumes", "started", "members", "expected"), TABLE)
def test_how_a_member_without_data_may_start(
    state: str, volumes: dict[str, str], started: tuple[str, ...], members: tuple[str, ...], expected: str
) -> None:
    assert decision(recorded(state, volumes, started), members) == expected


@given(st.dictionaries(st.sampled_from(THREE), st.sampled_from(["vol-a", "vol-x"])), st.sets(st.sampled_from(THREE)))
def test_new_is_never_granted_under_an_established_record(volumes: dict[str, str], started: set[str]) -> None:
    record = recorded("established", volumes, tuple(sorted(started)))
    assert decision(record, THREE) != "new"
    assert decision(record, ONE) != "new"


def test_established_is_never_taken_back() -> None:
    record = recorded("bootstrapping", {}).with_started("a")
    assert record.state == "established"
    assert record.with_volume("b", "vol-b").state == "established"
    assert record.with_started("b").started == ("a", "b")


# --- races for the record ---


@dataclass
class RacedRecords:
    """S3 as one member sees it: before each of its conditional writes, others may have theirs."""

    shared: MemoryRecords
    others: Iterator[None]

    def get(self, key: str) -> Record | None:
        return self.shared.get(key)

    def create(self, key: str, content: bytes) -> bool:
        next(self.others, None)
        return self.shared.create(key, content)

    def replace(self, key: str, content: bytes, etag: str) -> bool:
        next(self.others, None)
        return self.shared.replace(key, content, etag)


def joining(others: list[Member]) -> Iterator[None]:
    for other in others:
        other.decide()
        yield


@pytest.mark.parametrize("order", list(itertools.permutations(THREE)), ids="".join)
@pytest.mark.parametrize("nested", [1, 2])
def test_members_that_race_for_the_record_are_all_listed(order: tuple[str, ...], nested: int) -> None:
    """Each loses its compare-and-swap to the next one: the first is overtaken by one, or by both."""
    shared = MemoryRecords()
    first, *rest = [member(name, THREE, shared) for name in order]
    first.machine.records = RacedRecords(shared, joining(rest[:nested]))  # type: ignore[assignment]
    assert first.decide() == "new"
    for late in rest[nested:]:
        late.decide()
    assert record_of(shared).volumes == {"a": "vol-a", "b": "vol-b", "c": "vol-c"}


STEPS = ("decide", "start", "establish")


@settings(max_examples=300)
@given(st.permutations([name for name in THREE for _step in STEPS]))
def test_in_every_interleaving_new_is_granted_only_before_the_record_is_established(schedule: list[str]) -> None:
    """Each member's three steps in every order among the members; a quorum of two makes etcd ready."""
    shared = MemoryRecords()
    members = {name: member(name, THREE, shared) for name in THREE}
    done: dict[str, int] = dict.fromkeys(THREE, 0)
    for name in schedule:
        one, step = members[name], STEPS[done[name]]
        done[name] += 1
        if step == "decide":
            before = record_of(shared).state if KEY in shared.objects else "bootstrapping"
            assert one.decide() == ("new" if before == "bootstrapping" else "existing")
        elif step == "start":
            one.start_etcd()
        elif sum(has_log(each) for each in members.values()) >= 2:
            one.establish()
    for one in members.values():  # the next run of each: by now every etcd is up
        one.decide()
        one.establish()
        assert one.granted == "existing"
    assert record_of(shared).started == THREE
    assert record_of(shared).volumes == {"a": "vol-a", "b": "vol-b", "c": "vol-c"}


def has_log(one: Member) -> bool:
    return one.machine.files.read(WAL) is not None


def test_a_record_that_never_holds_still_is_tried_a_bounded_number_of_times() -> None:
    only = member()
    only.machine.records = replace_nothing()  # type: ignore[assignment]
    with pytest.raises(Retryable) as later:
        only.bootstrap.apply(only.machine.host)
    assert later.value.code == "etcd-record-contended"
    with pytest.raises(Retryable) as later:
        only.establish()
    assert later.value.code == "etcd-record-contended"


def replace_nothing() -> MemoryRecords:
    records = MemoryRecords()
    records.objects[KEY] = Record(recorded("bootstrapping", {"b": "vol-b"}).encode(), "etag")
    records.replace = lambda _key, _content, _etag: False  # type: ignore[method-assign]
    return records


def test_a_stray_file_in_the_log_folder_is_no_data() -> None:
    only = member()
    only.machine.files.mounted[MOUNT]["/data/member/wal/0.tmp"] = FileState("file", 0o600, "etcd", "etcd", b"")
    assert only.decide() == "new"


def test_a_record_reads_back_as_it_was_written() -> None:
    record = recorded("established", {"a": "vol-a"}, ("a",))
    assert decode_record(record.encode(), KEY) == record
    assert record.encode() == replace_order(record).encode()


def replace_order(record: BootstrapRecord) -> BootstrapRecord:
    return BootstrapRecord.model_validate(dict(reversed(record.model_dump().items())))
