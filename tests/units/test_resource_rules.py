"""What single resources promise beside check and apply: when to restart, what to refuse, what to leave alone."""

import dataclasses

import pytest

from tests.units.machines import FACTS, empty_machine, manifest, secrets, service_account
from tests.units.resource_cases import CASES, CERTIFICATE, CLAIM, IMAGE, MOUNT, SECRET, UNIT, applied, content
from units.accounts import User
from units.content import LoadedImage
from units.converge import converge
from units.errors import Fatal, Refused
from units.files import Directory, File
from units.host import Account, FileState, MountState
from units.kernel import Sysctl
from units.plan import Plan, plan
from units.storage import OPTIONS, Mount, Volume


def test_an_envelope_with_somebody_elses_key_is_refused_before_it_is_written() -> None:
    machine = empty_machine()
    keys = {"authority-kubernetes": service_account()}
    machine.secrets = dataclasses.replace(secrets(), keys=keys)
    with pytest.raises(Refused) as refused:
        SECRET.apply(machine.host)
    assert refused.value.code == "secret-mismatch"
    assert SECRET.path not in machine.files.entries


def test_a_certificate_is_renewed_with_a_new_key_when_it_is_due() -> None:
    machine = applied(CASES["certificate"])
    before = machine.files.entries[CERTIFICATE.path].content
    machine.clock.at = machine.clock.at.replace(year=machine.clock.at.year + 1)
    assert CERTIFICATE.check(machine.host) is not None
    machine.secrets = dataclasses.replace(secrets(), now=machine.clock.at)
    CERTIFICATE.apply(machine.host)
    assert CERTIFICATE.check(machine.host) is None
    after = machine.files.entries[CERTIFICATE.path].content
    assert before
    assert after
    assert before.partition(b"BEGIN PRIVATE")[2] != after.partition(b"BEGIN PRIVATE")[2]


def test_an_optional_sysctl_that_the_kernel_lacks_is_not_missed() -> None:
    machine = empty_machine()
    machine.kernel.sysctl = lambda _name: None  # type: ignore[method-assign]  # a kernel without the key
    assert Sysctl("vm.max_map_count", "1048576", optional=True).check(machine.host) is None
    assert Sysctl("kernel.panic", "10").check(machine.host) is not None


def test_a_unit_that_somebody_restarted_with_another_file_is_restarted_with_ours() -> None:
    machine = applied(CASES["unit"])
    path = "/etc/systemd/system/kubelet.service"
    content(path, b"[Service]\nExecStart=/bin/evil\n")(machine)
    machine.systemd.reload_daemon()
    machine.systemd.restart("kubelet.service")
    assert "evil" in machine.systemd.running["kubelet.service"]
    UNIT.apply(machine.host)
    assert machine.systemd.running["kubelet.service"] == UNIT.content


def test_a_unit_whose_inputs_are_the_same_is_not_restarted() -> None:
    machine = applied(CASES["unit"])
    assert converge(Plan((UNIT,)), machine.host).changed == ()
    assert machine.systemd.restarts == []


def test_a_unit_whose_inputs_changed_is_restarted_once() -> None:
    machine = applied(CASES["unit"])
    changed = dataclasses.replace(UNIT, reads="two")
    assert [outcome.key for outcome in converge(Plan((changed,)), machine.host).changed] == ["unit:kubelet.service"]
    assert machine.systemd.restarts == ["kubelet.service"]
    assert converge(Plan((changed,)), machine.host).changed == ()


def test_a_container_image_under_the_right_tag_from_the_wrong_archive_is_loaded_again() -> None:
    machine = applied(CASES["image"])
    other = LoadedImage(IMAGE.image.model_copy(update={"sha256": "d" * 64}))
    change = other.check(machine.host)
    assert change is not None
    assert "dddddddddddd" in change.summary


def test_a_directory_in_the_place_of_a_file_is_an_error_that_stops_the_run() -> None:
    machine = empty_machine()
    machine.files.make_directory("/etc/motd", mode=0o755, owner="root", group="root")
    report = converge(Plan((File("/etc/motd", "x\n"), Directory("/etc/later"))), machine.host)
    assert report.failure is not None
    assert [outcome.status for outcome in report.outcomes] == ["failed", "skipped"]


def test_a_resource_that_does_not_stay_as_it_was_made_is_reported() -> None:
    machine = empty_machine()
    machine.kernel.set_sysctl = lambda _name, _value: None  # type: ignore[method-assign]  # accepts and forgets
    report = converge(Plan((Sysctl("kernel.panic", "10"),)), machine.host)
    assert report.failure is not None
    assert report.failure.code == "not-converged"


def test_a_dry_run_names_what_would_change_and_touches_nothing() -> None:
    machine = empty_machine()
    report = converge(plan(manifest("node"), FACTS), machine.host, dry_run=True)
    assert machine.files.entries == {}
    assert {outcome.key for outcome in report.outcomes if outcome.status != "would-change"} == {"hosts-block:cluster"}


def test_a_foreign_disk_under_the_mount_point_is_an_error_not_a_new_marker() -> None:
    machine = empty_machine()
    Volume(CLAIM, MOUNT).apply(machine.host)
    (volume_id,) = machine.volumes.contents
    machine.volumes.contents[volume_id]["/somebody.txt"] = FileState("file", 0o644, "root", "root", b"data")
    with pytest.raises(Refused) as refused:
        Mount(CLAIM, MOUNT).apply(machine.host)
    assert refused.value.code == "etcd-volume-unmarked"


def test_a_mounted_volume_that_is_no_longer_attached_is_an_error() -> None:
    machine = applied(CASES["mount"])
    machine.volumes.attached.clear()
    with pytest.raises(Fatal) as fatal:
        Mount(CLAIM, MOUNT).check(machine.host)
    assert fatal.value.code == "etcd-volume-gone"


@pytest.mark.parametrize(
    "options", [("ro", "noatime", "nodev", "nosuid", "noexec"), ("ro", "relatime")], ids=["with ours", "without"]
)
def test_a_volume_that_went_read_only_is_named_and_never_made_writable(options: tuple[str, ...]) -> None:
    machine = applied(CASES["mount"])
    machine.mounts.remount(MOUNT, options=options)
    machine.volumes.sizes = {volume: 2 * size for volume, size in machine.volumes.sizes.items()}
    for act in (Mount(CLAIM, MOUNT).check, Mount(CLAIM, MOUNT).apply):
        with pytest.raises(Refused) as refused:
            act(machine.host)
        assert refused.value.code == "etcd-volume-read-only"
        assert f"umount {MOUNT}" in refused.value.remedy
    assert machine.mounts.mounts[MOUNT].options == options
    assert machine.volumes.grown == {}


@pytest.mark.parametrize(("source", "fstype"), [("tmpfs", "tmpfs"), ("/dev/memory-events", "ext4")])
def test_what_else_is_mounted_over_the_volume_is_never_given_a_marker(source: str, fstype: str) -> None:
    machine = applied(CASES["mount"])
    machine.mounts.mounts[MOUNT] = MountState(source, fstype, OPTIONS)
    machine.files.mounted[MOUNT] = {}
    for act in (Mount(CLAIM, MOUNT).check, Mount(CLAIM, MOUNT).apply):
        with pytest.raises(Refused, match=source) as refused:
            act(machine.host)
        assert refused.value.code == "etcd-mount-foreign"
    assert machine.files.mounted[MOUNT] == {}


def test_an_account_that_a_package_made_is_left_as_it_is() -> None:
    machine = empty_machine()
    machine.users.create(Account("etcd", 107, 112, "/var/lib/etcd", "/bin/false"))
    assert User("etcd", 2379).check(machine.host) is None
