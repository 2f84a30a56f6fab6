"""An image's etcd on a volume that another version has served."""

import json

import pytest

from tests.units.etcd_cluster_double import EtcdClusterDouble
from tests.units.etcd_member import ENVIRONMENT, MOUNT, THREE, Member, member, record_of
from units.errors import Refused
from units.etcd_upgrade import IMAGE, EtcdUpgrade, EtcdVersionNote, version_here
from units.memory import MemoryRecords

UPGRADE, NOTE = EtcdUpgrade("main", MOUNT), EtcdVersionNote("main", MOUNT)


def on(version: str, one: Member | None = None) -> Member:
    one = one or member()
    content = json.dumps({"etcd": version, "kernel": None}).encode()
    one.machine.files.write(IMAGE, content, mode=0o644, owner="root", group="root")
    return one


def served_by(version: str) -> Member:
    one = on(version)
    one.boot()
    NOTE.apply(one.machine.host)
    assert NOTE.check(one.machine.host) is None
    return one


def test_the_next_patch_and_the_next_minor_from_a_safe_patch_start() -> None:
    one = served_by("3.5.16-4")
    for version in ("3.5.33", "3.6.14", "3.7.1"):
        on(version, one)
        UPGRADE.apply(one.machine.host)
        assert UPGRADE.check(one.machine.host) is None
        assert NOTE.check(one.machine.host) is not None
        NOTE.apply(one.machine.host)


@pytest.mark.parametrize(("before", "now"), [("3.5.16-4", "3.6.14"), ("3.6.14", "3.5.33"), ("3.5.33", "3.7.1")])
def test_a_path_that_etcd_does_not_support_is_refused_before_the_start(before: str, now: str) -> None:
    one = on(now, served_by(before))
    with pytest.raises(Refused) as caught:
        UPGRADE.apply(one.machine.host)
    assert UPGRADE.check(one.machine.host) is not None
    assert caught.value.code == "etcd-upgrade-path"


def test_an_empty_volume_tells_nothing_by_itself_and_a_machine_that_was_not_baked_is_not_checked() -> None:
    UPGRADE.apply(on("3.6.14").machine.host)
    assert version_here(member().machine.host) is None
    assert UPGRADE.check(member().machine.host) is None
    assert NOTE.check(member().machine.host) is None


def running(**versions: str) -> EtcdClusterDouble:
    cluster = EtcdClusterDouble.of(*THREE)
    cluster.runs = versions
    return cluster


def refused(one: Member, cluster: EtcdClusterDouble, said: str) -> None:
    records = one.records
    before, members = dict(records.objects), list(cluster.members)
    with pytest.raises(Refused, match=said) as caught:
        one.decide()
    assert caught.value.code == "etcd-upgrade-path"
    assert (records.objects, cluster.members) == (before, members), "nothing was changed for it"
    assert ENVIRONMENT not in one.machine.files.entries


def formed(*members: str) -> MemoryRecords:
    records = MemoryRecords()
    for name in members:
        member(name, THREE, records).boot()
    return records


@pytest.mark.parametrize(
    ("image", "others", "said"),
    [
        ("3.7.1", ("3.5.33", "3.5.33"), "more than one minor away"),
        ("3.6.14", ("3.5.33", "3.5.16"), "3.6 may be joined only from 3.5.32"),
        ("3.5.33", ("3.6.14", "3.6.14"), "does not start on its data"),
    ],
)
def test_a_blank_volume_is_not_joined_to_members_that_this_image_may_not_join(
    image: str, others: tuple[str, str], said: str
) -> None:
    """A lost member that begins anew, and one that was never seen while the others formed the cluster."""
    cluster = running(a=others[0], c=others[1])
    cluster.fell("b")
    refused(on(image, member("b", THREE, formed(*THREE), volume_id="vol-new", etcd=cluster)), cluster, said)
    cluster = running(a=others[0], b=others[1])
    cluster.fell("c")
    refused(on(image, member("c", THREE, formed("a", "b"), etcd=cluster)), cluster, said)


def test_a_blank_volume_is_joined_where_the_way_is_supported_or_nobody_tells() -> None:
    for runs in ({"a": "3.5.33", "c": "3.6.14"}, {"a": "3.6.14", "c": "3.6.14"}, {}):
        cluster = running(**runs)
        cluster.fell("b")
        records = formed(*THREE)
        assert on("3.6.14", member("b", THREE, records, volume_id="vol-new", etcd=cluster)).decide() == "existing"
        assert record_of(records).replacing == "b"


def test_a_member_of_the_cluster_s_oldest_minor_still_comes_back_while_others_are_newer() -> None:
    cluster = running(a="3.5.33", c="3.6.14")
    cluster.fell("b")
    one = on("3.5.33", member("b", THREE, formed(*THREE), volume_id="vol-new", etcd=cluster))
    assert one.decide() == "existing"


def test_own_data_may_be_ready_for_the_next_minor_while_another_member_is_not() -> None:
    one = served_by("3.5.33")
    upgrade = EtcdUpgrade("main", MOUNT, ("https://b.internal:2379", "https://c.internal:2379"))
    one.machine.etcd = cluster = running(b="3.5.33", c="3.5.16")
    upgrade.apply(one.machine.host)
    assert upgrade.check(on("3.6.14", one).machine.host) is not None
    with pytest.raises(Refused, match=r"3\.5\.16"):
        upgrade.apply(one.machine.host)
    assert upgrade.check(one.machine.host) is not None
    cluster.runs["c"] = "3.5.33"
    upgrade.apply(one.machine.host)
    assert upgrade.check(one.machine.host) is None
