"""An image's etcd on a volume that another version has served."""

import json

import pytest

from tests.units.etcd_member import MOUNT, Member, member
from units.errors import Refused
from units.etcd_upgrade import IMAGE, EtcdUpgrade, EtcdVersionNote, version_here

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


def test_an_empty_volume_and_a_machine_that_was_not_baked_are_not_checked() -> None:
    UPGRADE.apply(on("3.6.14").machine.host)
    one = served_by("3.5.16")
    one.lose_data()
    UPGRADE.apply(on("3.7.1", one).machine.host)
    assert version_here(member().machine.host) is None
    assert UPGRADE.check(member().machine.host) is None
    assert NOTE.check(member().machine.host) is None
