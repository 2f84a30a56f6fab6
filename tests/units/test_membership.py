"""How an etcd member starts, case by case: etcd-pki.md 2.3 and 2.4. `new` once in a cluster's life, and never again."""

import pytest

from tests.units.etcd_member import ENVIRONMENT, KEY, MOUNT, ONE, THREE, member, record_of
from tests.units.test_bootstrap_record import recorded
from units.converge import converge
from units.errors import Refused, Retryable
from units.host import Answer, FileState, Record
from units.membership import HEALTH_SECONDS
from units.memory import MemoryRecords
from units.plan import Plan


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


def test_lost_data_on_an_established_cluster_is_not_begun_anew() -> None:
    # Measured: with `new` a single member starts empty, without any error (2.3).
    only = member()
    only.boot()
    only.lose_data()
    with pytest.raises(Retryable) as refused:
        only.decide()
    assert refused.value.code == "etcd-volume-lost"
    assert ENVIRONMENT not in only.machine.files.entries


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
    assert report.failure.exit_code == 4, "systemd starts the agent again, and it sees a restore"


def test_another_empty_volume_for_an_established_member_starts_nothing_and_the_right_one_is_named() -> None:
    member().boot()
    records = MemoryRecords()
    member(records=records).boot()
    with pytest.raises(Retryable) as refused:
        member(records=records, volume_id="vol-other").decide()
    assert refused.value.code == "etcd-volume-lost"
    assert "vol-a" in refused.value.message
    assert record_of(records).volumes == {"a": "vol-a"}


def test_a_member_that_may_not_start_leaves_the_record_as_it_was() -> None:
    only = member()
    before = recorded("established", {}).encode()
    only.records.objects[KEY] = Record(before, "etag")
    with pytest.raises(Retryable):
        only.decide()
    assert only.records.objects[KEY] == Record(before, "etag")
    assert ENVIRONMENT not in only.machine.files.entries


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


def test_a_member_that_comes_after_the_others_have_formed_the_quorum_joins_with_existing() -> None:
    # Measured on etcd 3.4.23 and 3.5.16: it fetches the log from the leader.
    records = MemoryRecords()
    late = member("c", THREE, records)
    for name in ("a", "b"):
        member(name, THREE, records).boot()
    assert late.bootstrap.check(late.machine.host) is not None
    assert late.decide() == "existing"
    late.start_etcd()
    late.establish()
    assert record_of(records).started == THREE
    assert record_of(records).volumes["c"] == "vol-c"


def test_a_member_that_was_ready_once_and_lost_its_data_on_the_same_volume_does_not_start_though_the_others_live() -> (
    None
):
    # Measured: `existing` with lost data panics in a crash loop, `new` with a survivor down forms an empty cluster.
    records = MemoryRecords()
    three = [member(name, THREE, records) for name in THREE]
    for each in three:
        each.boot()
    three[1].lose_data()
    with pytest.raises(Retryable) as refused:
        three[1].decide()
    assert refused.value.code == "etcd-volume-lost"
    assert "aws ec2 delete-volume --volume-id vol-b" in refused.value.remedy


@pytest.mark.parametrize("members", [ONE, ("a", "b")], ids=["one", "two"])
def test_a_lost_volume_of_one_or_two_members_waits_and_names_the_command_that_restores(
    members: tuple[str, ...],
) -> None:
    records = MemoryRecords()
    for name in members:
        member(name, members, records).boot()
    with pytest.raises(Retryable) as refused:
        member("a", members, records, volume_id="vol-new").decide()
    assert refused.value.code == "etcd-volume-lost"
    assert "`coordinator etcd restore --etcd main --backup latest`" in refused.value.remedy


def test_a_stray_file_in_the_log_folder_is_no_data() -> None:
    only = member()
    only.machine.files.mounted[MOUNT]["/data/member/wal/0.tmp"] = FileState("file", 0o600, "etcd", "etcd", b"")
    assert only.decide() == "new"
