"""What several clusters and members are ill of, in a status that has each code once."""

from units.etcd_care import CaredMember, conditions, no_quorum
from units.etcd_conditions import CARE_CODES, failed_test, joined, with_care
from units.status import Condition, EtcdState, NodeStatus

MIB = 1024**2


def member(number: int, name: str, *, healthy: bool) -> CaredMember:
    return CaredMember(number, name, healthy, False, False, MIB, MIB, detail="" if healthy else f"{name} is silent")


def test_the_same_trouble_of_two_clusters_is_told_of_both() -> None:
    (one,) = joined((no_quorum("main", "no leader", "2026-01-02"), no_quorum("events", "silent", "2026-01-01")))
    assert "etcd 'main' takes no writes" in one.message
    assert "etcd 'events' takes no writes" in one.message
    assert "--etcd main" in one.remedy
    assert "--etcd events" in one.remedy
    assert one.since == "2026-01-01"


def test_two_sick_members_are_both_told() -> None:
    five = [member(number, name, healthy=name not in "bd") for number, name in enumerate("abcde", 1)]
    found = joined(conditions("main", five, [], quota_bytes=MIB, since="now"))
    assert [one.code for one in found] == ["etcd-member-unhealthy"]
    assert "b is silent" in found[0].message
    assert "d is silent" in found[0].message
    assert found[0].remedy.count("journalctl") == 1, "the same remedy is given once"


def test_what_is_told_once_stays_as_it_is_and_in_its_place() -> None:
    told = tuple(Condition(code=code, message=code, since="now", severity="warning") for code in ("x", "y", "z"))
    assert joined(told) == told
    mixed = (*told, told[0].model_copy(update={"severity": "error", "message": "worse"}))
    assert [(one.code, one.severity) for one in joined(mixed)] == [("x", "error"), ("y", "warning"), ("z", "warning")]


def test_every_condition_of_the_care_is_the_cares_to_take_back() -> None:
    sick = conditions("main", [member(1, "a", healthy=False)], [], quota_bytes=MIB, since="now")
    assert {one.code for one in (*sick, no_quorum("main", "", "now"))} <= CARE_CODES


def test_a_round_keeps_what_others_told_and_when_its_own_began_and_takes_back_what_is_over() -> None:
    told = tuple(
        Condition(code=code, message="", since="before") for code in ("clock", "etcd-corrupt", "etcd-no-quorum")
    )
    status = NodeStatus(instance_id="i-1", conditions=told)
    lost = (no_quorum("main", "silent", "now"), no_quorum("events", "silent", "now"))
    seen = with_care(status, (), lost, "now")
    assert [(one.code, one.since) for one in seen.conditions] == [("clock", "before"), ("etcd-no-quorum", "before")]
    assert "events" in seen.conditions[1].message
    assert "main" in seen.conditions[1].message


def test_a_backup_that_could_not_be_restored_is_told_for_as_long_as_the_store_says_so() -> None:
    state = EtcdState(name="main", ready=True, seen="now", backup_problem="the test restore of X failed: rotten")
    status = NodeStatus(instance_id="i-1")
    for _round in range(3):
        status = with_care(status, (state,), failed_test(state), "now")
        assert [one.code for one in status.conditions] == ["etcd-backup-test-failed"]
        assert "X failed: rotten" in status.conditions[0].message
    assert failed_test(state.model_copy(update={"backup_problem": ""})) == ()
