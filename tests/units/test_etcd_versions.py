"""Which etcd may follow which, and what its flags are called."""

import pytest

from tests.units.machines import facts
from tests.units.sample import manifest
from units.errors import Invalid, Refused
from units.etcd_versions import check_flags, check_upgrade, parse, restore_problem
from units.plan import plan


@pytest.mark.parametrize(
    ("running", "wanted"),
    [
        ([], "3.6.14"),
        (["3.5.16", "3.5.16"], "3.5.33"),
        (["3.5.33", "3.5.16"], "3.5.33"),
        (["3.5.32", "3.5.33", "3.6.14"], "3.6.14"),
        (["3.6.11"], "3.7.1"),
        (["3.6.14", "3.7.0"], "3.7.1"),
        (["3.4.45"], "3.5.33"),
        (["3.6.14"], "3.6.12"),  # a patch back is a patch
        (["3.5.33-0", "3.5.33+dfsg"], "3.6.14"),
    ],
)
def test_a_path_that_etcd_supports_is_taken(running: list[str], wanted: str) -> None:
    check_upgrade(running, wanted)


@pytest.mark.parametrize(
    ("running", "wanted", "says"),
    [
        (["3.5.31"], "3.6.14", "only from 3.5.32"),
        (["3.5.33", "3.5.16"], "3.6.14", "3.5.16"),
        (["3.6.10"], "3.7.1", "only from 3.6.11"),
        (["3.5.33"], "3.7.1", "more than one minor"),
        (["3.4.45"], "3.6.14", "more than one minor"),
        (["3.6.14"], "3.5.33", "does not start on its data"),
        (["3.7.1"], "3.6.14", "does not start on its data"),
        ([], "3.8.0", "not one that this agent knows"),
        ([], "3.3.10", "not one that this agent knows"),
        ([], "3.4.45", "not one that this agent knows"),
    ],
)
def test_a_path_that_etcd_does_not_support_is_refused_with_the_next_step(
    running: list[str], wanted: str, says: str
) -> None:
    with pytest.raises(Refused, match=says) as caught:
        check_upgrade(running, wanted)
    assert caught.value.code == "etcd-upgrade-path"
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["", "3", "3.x.1", "v3.5.1", "3.5.1.2"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse(text)


def test_flags_are_checked_against_the_version_that_must_start_with_them() -> None:
    assert check_flags(["auto-compaction-mode", "experimental-initial-corrupt-check"], (3, 5)) == ()
    assert check_flags(["experimental-initial-corrupt-check"], (3, 6)) == ()
    assert "feature-gates=InitialCorruptCheck" in check_flags(["experimental-initial-corrupt-check"], (3, 7))[0]
    assert "gone in etcd 3.6" in check_flags(["enable-v2"], (3, 6))[0]
    assert "experimental-corrupt-check-time" in check_flags(["corrupt-check-time"], (3, 5))[0]
    assert check_flags(["feature-gates"], (3, 4))


@pytest.mark.parametrize(("version", "says"), [((3, 4), "has etcd 3.4"), ((0, 0), "has no etcd")])
def test_a_machine_whose_etcd_would_never_start_is_refused_by_its_version(version: tuple[int, int], says: str) -> None:
    with pytest.raises(Invalid, match=says) as caught:
        plan(manifest(), facts(etcd_version=version))
    assert caught.value.code == "etcd-too-old"
    assert "docs/image.md" in caught.value.remedy
    plan(manifest(), facts(etcd_version=(3, 5)))


def test_a_machine_that_runs_no_etcd_needs_none() -> None:
    plan(manifest("node"), facts(etcd_version=(0, 0)))


def test_a_plan_with_a_flag_that_this_etcd_does_not_know_is_refused_before_anything_is_touched() -> None:
    cluster = manifest().etcd[0].model_copy(update={"extra_args": {"corrupt-check-time": "1h"}})
    wanted = manifest(etcd=(cluster,))
    with pytest.raises(Invalid, match=r"3\.5 would not start") as caught:
        plan(wanted, facts(etcd_version=(3, 5)))
    assert caught.value.code == "etcd-flag-unknown"
    plan(wanted, facts(etcd_version=(3, 6)))


@pytest.mark.parametrize(("backup", "here"), [("3.5.16", "3.5"), ("3.5.16", "3.6"), ("3.6.14", "3.7.1")])
def test_a_backup_is_restored_by_its_own_minor_and_the_next(backup: str, here: str) -> None:
    assert restore_problem(backup, here) == ""


@pytest.mark.parametrize(("backup", "here"), [("3.6.14", "3.5"), ("3.5.33", "3.7"), ("3.4.45", "3.6.14")])
def test_a_backup_is_restored_by_no_older_minor_and_by_none_that_skips_one(backup: str, here: str) -> None:
    assert backup in restore_problem(backup, here)
