"""Which backups stay, which are due, which are believed: over generated histories."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from units.errors import Fatal, Refused, Retryable
from units.etcd_backup import (
    KEEP_ALL,
    KEEP_DAILY,
    KEEP_HOURLY,
    BackupMeta,
    Kept,
    SnapshotFacts,
    backup_name,
    believable,
    decode_meta,
    decode_test,
    is_due,
    kept_in,
    newest_of,
    outlived,
    parse_name,
    to_test,
)

NOW = datetime(2026, 11, 23, 7, 31, 12, tzinfo=UTC)
META = BackupMeta(
    cluster="demo",
    etcd="main",
    etcd_version="3.5.16",
    generation=1,
    token="t",
    revision=100,
    size=1056,
    sha256="0" * 64,
    versions=3,
    members=1,
    member="1",
    taken="2026-11-23T07:00:00+00:00",
    reason="test",
)


def kept(minutes_ago: int, *, complete: bool = True, tested: bool = False, revision: int = 1) -> Kept:
    taken = NOW - timedelta(minutes=minutes_ago)
    return Kept(backup_name(taken, revision), taken, revision, 1056, complete, tested)


HISTORIES = st.lists(
    st.builds(
        kept,
        st.integers(-30, 100 * 24 * 60),
        complete=st.booleans(),
        tested=st.booleans(),
        revision=st.integers(1, 9),
    ),
    max_size=60,
    unique_by=lambda one: one.name,
)


@given(HISTORIES)
def test_the_last_hour_the_newest_and_the_newest_tested_stay(history: list[Kept]) -> None:
    gone = outlived(history, NOW)
    whole = [one for one in history if one.complete]
    assert not [one for one in whole if NOW - one.taken <= KEEP_ALL and one.name in gone]
    for wanted in (whole, [one for one in whole if one.tested]):
        if wanted:
            assert max(wanted, key=lambda one: (one.taken, one.revision)).name not in gone


@given(HISTORIES)
def test_whatever_the_clocks_said_the_backup_with_the_highest_revision_stays(history: list[Kept]) -> None:
    gone = outlived(history, NOW)
    for some in ([one for one in history if one.complete], [one for one in history if one.complete and one.tested]):
        if some:
            highest = max(one.revision for one in some)
            assert any(one.revision == highest and one.name not in gone for one in some)


def test_a_backup_from_a_clock_that_was_ahead_puts_none_off_and_is_not_taken_for_the_newest() -> None:
    ahead, now = kept(-60, revision=5), kept(20, revision=8)
    assert is_due([ahead, now], NOW)
    assert not is_due([kept(-3)], NOW), "clocks of two machines may differ a little"
    assert newest_of([ahead, now], NOW) == now
    assert newest_of([ahead], NOW) == ahead
    assert to_test([ahead, now], NOW + timedelta(hours=1), NOW) == now


@given(HISTORIES)
def test_every_hour_of_a_week_and_every_day_of_a_quarter_keeps_one(history: list[Kept]) -> None:
    gone = set(outlived(history, NOW))
    for limit, slot in ((KEEP_HOURLY, "%Y-%m-%dT%H"), (KEEP_DAILY, "%Y-%m-%d")):
        had = {one.taken.strftime(slot) for one in history if one.complete and NOW - one.taken <= limit}
        have = {one.taken.strftime(slot) for one in history if one.complete and one.name not in gone}
        assert had <= have


@given(HISTORIES)
def test_what_stays_is_few_and_is_stable(history: list[Kept]) -> None:
    left = [one for one in history if one.name not in outlived(history, NOW)]
    assert outlived(left, NOW) == ()
    whole_and_old = [one for one in left if one.complete and NOW - one.taken > KEEP_ALL]
    assert len(whole_and_old) <= 7 * 24 + 1 + 90 + 1 + 2


@settings(max_examples=30)
@given(st.lists(st.integers(0, 30 * 24 * 4), max_size=80, unique=True))
def test_tidying_often_leaves_what_tidying_once_would_have_left_or_more(quarters: list[int]) -> None:
    """No hour or day loses its backup because it was tidied at another moment."""
    history = [kept(15 * quarter) for quarter in quarters]
    left = history
    for hours in range(0, 24 * 30, 7):
        then = NOW - timedelta(hours=24 * 30 - hours)
        present = [one for one in left if one.taken <= then]
        dropped = set(outlived(present, then))
        left = [one for one in left if one.name not in dropped]
    had = {one.taken.date() for one in history}
    have = {one.taken.date() for one in left}
    assert had == have


@given(HISTORIES, st.data())
def test_what_is_protected_stays(history: list[Kept], data: st.DataObject) -> None:
    if history:
        one = data.draw(st.sampled_from(history))
        assert one.name not in outlived(history, NOW, protected={one.name})


def test_an_upload_that_broke_off_goes_after_a_day() -> None:
    fresh, old = kept(60, complete=False), kept(25 * 60, complete=False)
    assert outlived([fresh, old], NOW) == (old.name,)


def test_a_name_tells_time_and_revision_and_nothing_else_is_a_name() -> None:
    assert backup_name(NOW, 7) == "2026-11-23T07:31:12Z-7"
    assert parse_name("2026-11-23T07:31:12Z-7") == (NOW, 7)
    for wrong in ("", "2026-11-23T07:31:12Z", "2026-13-23T07:31:12Z-7", "x-7", "2026-11-23T07:31:12Z-7/", "../x-1"):
        assert parse_name(wrong) is None


def test_a_listing_groups_files_and_leaves_strangers_alone() -> None:
    name = backup_name(NOW, 7)
    prefix = "etcd/main/backups/"
    found = kept_in(
        "main",
        [
            (f"{prefix}{name}/snapshot.db", 1056),
            (f"{prefix}{name}/meta.json", 10),
            (f"{prefix}notes/readme.txt", 3),
            ("etcd/events/backups/x/meta.json", 1),
        ],
    )
    assert found == (Kept(name, NOW, 7, 1056, complete=True, tested=False),)


def test_a_backup_is_due_after_a_quarter_of_an_hour_less_jitter() -> None:
    assert is_due([], NOW)
    assert not is_due([kept(11)], NOW)
    assert is_due([kept(13)], NOW)
    assert is_due([kept(1, complete=False), kept(20)], NOW)


def test_a_test_restore_is_made_once_a_day_of_the_newest_whole_backup() -> None:
    history = [kept(1, complete=False), kept(5), kept(50)]
    assert to_test(history, None, NOW) == history[1]
    assert to_test(history, NOW - timedelta(hours=25), NOW) == history[1]
    assert to_test(history, NOW - timedelta(hours=23), NOW) is None
    assert to_test([], None, NOW) is None


def facts(**changes: int) -> SnapshotFacts:
    return replace(SnapshotFacts(revision=100, versions=3, hash=1), **changes)


def believed(
    found: SnapshotFacts, *, keys: int | None = 2, previous: BackupMeta | None = None, at_least: int = 1
) -> SnapshotFacts:
    return believable(found, keys, previous, META.token, at_least=at_least)


@pytest.mark.parametrize(("versions", "keys"), [(0, None), (3, 0)])
def test_a_snapshot_without_keys_is_not_believed(versions: int, keys: int | None) -> None:
    with pytest.raises(Refused, match="no keys"):
        believed(facts(versions=versions), keys=keys)


def test_a_snapshot_with_fewer_versions_than_there_were_keys_lacks_some() -> None:
    assert believed(facts(versions=3), keys=3) == facts(versions=3)
    assert believed(facts(versions=3), keys=None) == facts(versions=3), "compacted before they were counted"
    with pytest.raises(Refused) as caught:
        believed(facts(versions=3), keys=4)
    assert caught.value.code == "etcd-backup-incomplete"


def test_a_snapshot_is_no_older_than_the_moment_it_was_asked_for() -> None:
    assert believed(facts(revision=100), at_least=100).revision == 100
    with pytest.raises(Retryable) as caught:
        believed(facts(revision=99), at_least=100)
    assert caught.value.code == "etcd-backup-behind"


def test_within_a_generation_revisions_only_grow() -> None:
    assert believed(facts(revision=100), previous=META).revision == 100
    with pytest.raises(Refused) as caught:
        believed(facts(revision=99), previous=META)
    assert caught.value.code == "etcd-backup-older"
    other = META.model_copy(update={"token": "of another generation"})
    assert believed(facts(revision=99), previous=other).revision == 99


def test_documents_survive_a_newer_writer_and_rubbish_is_named() -> None:
    newer = META.encode().replace(b'"cluster"', b'"colour": 1, "cluster"')
    assert decode_meta(newer, "k") == META
    for decode in (decode_meta, decode_test):
        with pytest.raises(Fatal, match="k does not describe a backup"):
            decode(b"{}", "k")


def test_after_a_failed_test_the_next_backup_is_tested_at_once_and_the_same_one_a_day_later() -> None:
    bad, newer = kept(30, tested=True, revision=5), kept(15, revision=6)
    tested = NOW - timedelta(minutes=20)
    assert to_test([bad], tested, NOW, failed=bad.name) is None
    assert to_test([bad, newer], tested, NOW, failed=bad.name) == newer
    assert to_test([bad, newer], tested, NOW) is None
    assert to_test([bad], tested, NOW + timedelta(days=1), failed=bad.name) == bad


def test_a_cluster_made_anew_under_an_old_name_begins_at_revision_1_beside_the_old_backups() -> None:
    old, new = kept(24 * 60, revision=500_000), kept(20, revision=40)
    listed = kept_in(
        "main", [(f"etcd/main/backups/{one.name}/{f}", 1) for one in (old, new) for f in ("meta.json", "snapshot.db")]
    )
    assert [one.revision for one in listed] == [40, 500_000]
    assert newest_of(listed, NOW) == listed[0]
    chosen = to_test(listed, None, NOW)
    assert chosen is not None
    assert chosen.revision == 40
    assert believable(facts(revision=40), 3, META, "token of the new one", at_least=1).revision == 40
