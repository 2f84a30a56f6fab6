"""A lost volume of an established cluster: the way back of its member, step by step, cut off anywhere."""

from dataclasses import replace

import pytest

from tests.units.etcd_cluster_double import EtcdClusterDouble, url
from tests.units.etcd_member import ENVIRONMENT, THREE, Member, member, record_of
from tests.units.machines import Killed
from units.errors import Refused, Retryable
from units.etcd_members import Member as Listed
from units.host import Answer
from units.memory import MemoryRecords

FIVE = ("a", "b", "c", "d", "e")
STORY = ["lock", "backup before member b is replaced", "remove b", "add", "unlock", "promote b"]


def established(members: tuple[str, ...] = THREE) -> tuple[EtcdClusterDouble, MemoryRecords]:
    records = MemoryRecords()
    for name in members:
        member(name, members, records).boot()
    return EtcdClusterDouble.of(*members), records


def lost(cluster: EtcdClusterDouble, records: MemoryRecords, members: tuple[str, ...] = THREE) -> Member:
    """Member b's machine with a new, empty volume that has the tag of the old one."""
    cluster.fell("b")
    one = member("b", members, records, volume_id="vol-new", etcd=cluster)
    one.machine.probes.get = lambda _url: Answer(200 if is_voter(cluster) else 503, "")  # type: ignore[method-assign]
    return one


def is_voter(cluster: EtcdClusterDouble) -> bool:
    return any(url("b") in m.peer_urls and m.started and m.healthy and not m.learner for m in cluster.members)


def start(one: Member, cluster: EtcdClusterDouble) -> None:
    """What the unit does with the grant that lies there."""
    assert one.granted == "existing"
    if not one.machine.host.files.list("/var/lib/etcd/main/data/member/wal"):
        cluster.start("b")
        one.start_etcd()


@pytest.mark.parametrize("members", [THREE, FIVE], ids=["three", "five"])
def test_a_lost_member_comes_back_as_a_learner_and_then_votes(members: tuple[str, ...]) -> None:
    cluster, records = established(members)
    one = lost(cluster, records, members)
    assert one.decide() == "existing"
    assert (record_of(records).replacing, record_of(records).volumes["b"]) == ("b", "vol-new")
    assert "b" not in record_of(records).started
    start(one, cluster)
    one.establish()
    assert cluster.changes == STORY
    assert [m.learner for m in cluster.members] == [False] * len(members)
    assert (record_of(records).replacing, record_of(records).started) == (None, members)


def test_only_the_other_members_are_asked() -> None:
    cluster, records = established()
    one = lost(cluster, records)
    one.decide()
    start(one, cluster)
    one.establish()
    names = "https://{}.etcd-main.internal.prod.example.com:2379"
    assert set(cluster.asked) == {(names.format("a"), names.format("c"))}


@pytest.mark.parametrize("cut", range(1, len(STORY) + 3))
def test_cut_off_at_any_change_the_next_run_goes_on(cut: int) -> None:
    cluster, records = established()
    one = lost(cluster, records)
    made: list[str] = []

    def power(change: str) -> None:
        made.append(change)
        if len(made) == cut:
            raise Killed

    cluster.before = power
    for _run in range(2):
        try:
            one.decide()
            start(one, cluster)
            one.establish()
        except Killed:
            one.machine.files.entries.pop(ENVIRONMENT, None)
    done = [change for change in cluster.changes if change not in ("lock", "unlock") and "backup" not in change]
    assert done[-3:] == ["remove b", "add", "promote b"]
    assert is_voter(cluster)
    assert record_of(records).started == THREE
    assert record_of(records).replacing is None


@pytest.mark.parametrize("cut", ["remove b", "add"])
@pytest.mark.parametrize("young", [False, True])
def test_a_run_that_goes_on_later_takes_a_backup_before_it_changes_members_unless_one_is_young(
    cut: str, *, young: bool
) -> None:
    cluster, records = established()
    one = lost(cluster, records)

    def power(change: str) -> None:
        if change == cut:
            raise Killed

    cluster.before = power
    with pytest.raises(Killed):
        one.decide()
    cluster.changes.clear()
    cluster.before, cluster.young = lambda _change: None, young
    one.decide()
    taken = [] if young else ["backup before member b is replaced"]
    assert cluster.changes == ["lock", *taken, *(["remove b", "add"] if cut == "remove b" else ["add"]), "unlock"]


def test_data_that_is_gone_before_the_learner_voted_begins_anew_once_more() -> None:
    cluster, records = established()
    one = lost(cluster, records)
    one.decide()
    start(one, cluster)
    cluster.fell("b")
    again = member("b", THREE, records, volume_id="vol-newer", etcd=cluster)
    assert again.decide() == "existing"
    assert [m.name for m in cluster.members] == ["a", "c", ""]
    assert record_of(records).volumes["b"] == "vol-newer"


def test_a_learner_that_is_behind_is_waited_for_by_name() -> None:
    cluster, records = established()
    one = lost(cluster, records)
    one.decide()
    start(one, cluster)
    cluster.behind = 3
    one.establish()
    assert sum("b catches up as a learner" in wait for wait in one.machine.clock.waits) == 3


def test_a_backup_that_fails_leaves_everything_as_it_was() -> None:
    cluster, records = established()
    one = lost(cluster, records)
    before = record_of(records)

    def fail(change: str) -> None:
        raise Retryable("backup-failed", change)

    cluster.before = fail
    with pytest.raises(Retryable, match="backup before member b"):
        one.decide()
    assert record_of(records) == before
    assert len(cluster.members) == 3


def test_a_member_that_lives_elsewhere_is_not_removed() -> None:
    cluster, records = established()
    one = lost(cluster, records)
    cluster.members = [replace(m, healthy=True) for m in cluster.members]
    with pytest.raises(Refused) as refused:
        one.decide()
    assert refused.value.code == "etcd-member-alive"
    assert "vol-b" in refused.value.remedy
    assert len(cluster.members) == 3


def test_two_lost_of_three_wait_and_name_the_restore() -> None:
    cluster, records = established()
    one = lost(cluster, records)
    cluster.fell("c")
    before = record_of(records)
    with pytest.raises(Retryable) as later:
        one.decide()
    assert later.value.code == "etcd-no-quorum"
    assert "coordinator etcd restore --etcd main" in later.value.remedy
    assert "member 'b' of etcd 'main' has lost its data" in later.value.message
    assert record_of(records) == before
    assert ENVIRONMENT not in one.machine.files.entries


def test_one_at_a_time() -> None:
    cluster, records = established(FIVE)
    first = lost(cluster, records, FIVE)
    first.decide()
    cluster.fell("c")
    second = member("c", FIVE, records, volume_id="vol-other", etcd=cluster)
    with pytest.raises(Retryable) as later:
        second.decide()
    assert later.value.code == "etcd-replacement-waiting"
    assert "'b'" in later.value.message


def test_a_stranger_in_the_member_list_stops_it() -> None:
    cluster, records = established()
    one = lost(cluster, records)
    cluster.members.append(Listed(9, "z", ("https://elsewhere:2380",), healthy=True))
    with pytest.raises(Refused) as refused:
        one.decide()
    assert refused.value.code == "etcd-foreign-member"


def test_a_member_that_was_registered_and_never_left_a_log_begins_anew_too() -> None:
    """It may have voted and forgotten; nobody can tell that from never having started."""
    records = MemoryRecords()
    cluster = EtcdClusterDouble.of(*THREE)
    cluster.fell("c")
    late = member("c", THREE, records, etcd=cluster)
    assert late.decide() == "new"
    late.machine.files.entries.pop(ENVIRONMENT)  # a power cut before etcd wrote anything
    for name in ("a", "b"):
        member(name, THREE, records).boot()
    assert late.decide() == "existing"
    assert [m.name for m in cluster.members] == ["a", "b", ""]


def test_an_etcd_that_was_not_let_in_asks_again_how_it_may_start() -> None:
    cluster, records = established()
    one = lost(cluster, records)
    one.decide()
    with pytest.raises(Retryable) as later:
        one.begun.apply(one.machine.host)
    assert later.value.code == "etcd-not-let-in"
    assert "coordinator etcd restore" in later.value.remedy
    assert ENVIRONMENT not in one.machine.files.entries
    assert one.decide() == "existing"
    one.start_etcd()
    one.begun.apply(one.machine.host)
    assert one.begun.check(one.machine.host) is None


def test_a_grant_of_new_is_withdrawn_before_its_member_is_removed() -> None:
    """Found by test_etcd_life: etcd under a removed id would begin a log that nobody ever lets in."""
    records = MemoryRecords()
    cluster = EtcdClusterDouble.of(*FIVE)
    cluster.fell("e", "d")
    late = member("e", FIVE, records, etcd=cluster)
    assert late.decide() == "new"
    for name in ("a", "b", "c"):
        member(name, FIVE, records).boot()
    with pytest.raises(Retryable, match="unhealthy cluster"):
        late.decide()
    assert [m.name for m in cluster.members] == ["a", "b", "c", "d"]
    assert ENVIRONMENT not in late.machine.files.entries
