"""What a node gets from an honest repository, and what it costs."""

import subprocess
import sys

import pytest

from agent.repository import Condition
from units.errors import BootwrightError, Fatal, Retryable


def test_a_fresh_node_gets_its_groups_release_in_five_reads(bench) -> None:
    found = bench.node().refresh()
    assert found.release == b'{"serial": 1}\n'
    assert found.condition == "Fresh"
    assert found.versions == {"root": 1, "timestamp": 1, "snapshot": 1, "targets": 1}
    names = [key.rpartition("/")[2] for key in bench.gets]
    assert names[:5] == ["1.root.json", "2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    assert len(names) == 6


def test_a_second_refresh_reads_two_small_objects(bench, booted) -> None:
    bench.gets.clear()
    assert bench.node().refresh() == booted
    assert [key.rpartition("/")[2] for key in bench.gets] == ["2.root.json", "timestamp.json"]


def test_a_publish_reaches_the_node(bench, publisher, booted) -> None:
    publisher.publish({"control-plane": b"next"})
    found = bench.node(publisher.settings(targets_version=1)).refresh()
    assert (found.release, found.versions["targets"]) == (b"next", 2)


def test_each_group_gets_its_own_document(bench, publisher) -> None:
    assert bench.node(publisher.settings(group="node")).refresh().release == b'{"serial": 1, "other": true}\n'


def test_a_root_that_was_rotated_twenty_times_is_reached_from_the_first(bench, publisher) -> None:
    settings = publisher.settings()
    for _ in range(20):
        publisher.new_root("timestamp")
    publisher.refresh()
    assert bench.node(settings).refresh().versions["root"] == 21
    bench.gets.clear()
    bench.node(settings).refresh()
    assert len(bench.gets) == 2  # the chain is cached


def test_a_baked_root_leads_to_the_pinned_one(bench, publisher) -> None:
    bench.baked.write_bytes(publisher.objects["demo/tuf/metadata/1.root.json"])
    publisher.new_root("targets")
    publisher.publish()
    assert bench.node().refresh().versions["root"] == 2
    assert "demo/tuf/metadata/1.root.json" not in bench.gets


def test_an_image_newer_than_the_user_data_keeps_its_root(bench, publisher) -> None:
    old = publisher.settings()
    publisher.new_root("timestamp")
    publisher.refresh()
    bench.baked.write_bytes(publisher.objects["demo/tuf/metadata/2.root.json"])
    del publisher.objects["demo/tuf/metadata/1.root.json"]
    assert bench.node(old).refresh().versions["root"] == 2


def test_a_baked_root_that_is_no_root_is_the_images_fault(bench) -> None:
    bench.baked.write_bytes(b"not a root")
    with pytest.raises(Fatal) as caught:
        bench.node().refresh()
    assert caught.value.code == "trust-root-damaged"


def test_without_list_permission_a_missing_root_is_403_and_still_means_newest(bench) -> None:
    bench.deny("demo/tuf/metadata/2.root.json")
    assert bench.node().refresh().condition == Condition.FRESH


def test_a_version_gap_left_by_a_crashed_publisher_is_no_attack(bench, publisher, booted) -> None:
    publisher.targets.version += 3
    publisher.snapshot.version += 2
    publisher.publish({"control-plane": b"after the gap"})
    assert bench.node(publisher.settings()).refresh().release == b"after the gap"


@pytest.mark.parametrize(
    ("denied", "code", "exit_code"),
    [
        ((), "s3-access-denied", 4),
        (("demo/tuf/metadata/timestamp.json",), "s3-access-denied", 4),
        (("demo/tuf/metadata/1.snapshot.json",), "s3-access-denied", 4),
        (("demo/tuf/metadata/1.root.json",), "s3-access-denied", 4),
    ],
)
def test_access_denied_names_the_object_the_role_and_the_action(bench, denied, code, exit_code) -> None:
    bench.deny(*denied)
    with bench.refused(code, "role demo-nodes", "s3:GetObject", *denied, exit_code=exit_code):
        bench.node().refresh()


def test_when_everything_is_denied_an_enrolled_node_says_so_and_not_that_there_is_no_newer_root(bench, booted) -> None:
    bench.deny()
    with bench.refused("s3-access-denied", "timestamp.json", exit_code=4):
        bench.node().refresh()
    with bench.refused("s3-access-denied", "timestamp.json", exit_code=4):
        bench.node().changed_since()


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("timestamp.json", "trust-not-published"),
        ("1.snapshot.json", "trust-object-missing"),
        ("1.targets.json", "trust-object-missing"),
        ("1.root.json", "trust-object-missing"),
    ],
)
def test_a_deleted_object_is_named(bench, publisher, name, code) -> None:
    del publisher.objects[f"demo/tuf/metadata/{name}"]
    settings = bench.publisher.settings() if name != "1.root.json" else None
    if settings is None:
        publisher.objects["demo/tuf/metadata/1.root.json"] = b"x"
        settings = publisher.settings()
        del publisher.objects["demo/tuf/metadata/1.root.json"]
    with bench.refused(code, name, exit_code=4):
        bench.node(settings).refresh()


def test_a_deleted_release_document_is_named(bench, publisher) -> None:
    for key in [key for key in publisher.objects if key.endswith(".control-plane.json")]:
        del publisher.objects[key]
    with bench.refused("trust-object-missing", ".control-plane.json", exit_code=4):
        bench.node().refresh()


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_a_busy_store_is_not_an_attack(bench, name) -> None:
    bench.overrides[f"demo/tuf/metadata/{name}"] = bench.answer(500, "InternalError")
    with bench.refused("s3-slow-down", name, exit_code=4):
        bench.node().refresh()


def test_a_missing_bucket_is_told_apart_from_a_missing_object(bench) -> None:
    bench.overrides["*"] = bench.answer(404, "NoSuchBucket")
    with bench.refused("s3-no-such-bucket", "demo-bucket", exit_code=1):
        bench.node().refresh()


def test_a_group_that_was_never_published_is_named(bench, publisher) -> None:
    with bench.refused("trust-group-unknown", "'workers'", exit_code=4):
        bench.node(publisher.settings(group="workers")).refresh()


def test_another_agent_at_work_is_waited_for_but_not_for_ever(bench, booted, clock) -> None:
    import fcntl
    import os

    holder = os.open(bench.state, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    try:
        with pytest.raises(Retryable) as caught:
            bench.node().refresh()
    finally:
        os.close(holder)
    assert caught.value.code == "trust-busy"
    assert clock.now == pytest.approx(120)
    assert bench.node().refresh() == booted


def test_neither_the_module_nor_a_poll_imports_tuf_and_a_refresh_needs_no_boto3() -> None:
    script = (
        "import sys; sys.modules['boto3'] = None; sys.modules['botocore'] = None\n"
        "import agent.repository; assert 'tuf' not in sys.modules\n"
        "import agent.aws.fetch; assert 'tuf' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_what_is_kept_prints_no_release() -> None:
    from datetime import UTC, datetime

    from agent.repository import VerifiedRelease

    assert "private" not in repr(VerifiedRelease(b"private", {}, datetime.now(UTC)))


def test_every_error_of_a_refresh_is_one_of_ours(bench) -> None:
    bench.server.close()
    with pytest.raises(BootwrightError) as caught:
        bench.node().refresh()
    assert caught.value.code == "s3-unreachable"


def test_a_boot_that_finds_nothing_new_writes_nothing_of_its_own(bench, booted) -> None:
    before = {path: path.stat().st_ino for path in bench.state.glob("*.json")}
    bench.age(minutes=10)
    bench.node().refresh()
    assert {path: path.stat().st_ino for path in bench.state.glob("*.json")} == before
    bench.age(hours=1)
    bench.node().refresh()
    changed = {path.name for path, inode in before.items() if path.stat().st_ino != inode}
    assert changed == {"floors.a.json", "floors.b.json"}
