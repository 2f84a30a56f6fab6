"""The minute-by-minute question whether anything changed: two GETs, no signature, nothing written."""

import subprocess
import sys

import pytest

from units.errors import BootwrightError

M = "demo/tuf/metadata/"


def test_nothing_changed_costs_two_reads_and_writes_nothing(bench, booted) -> None:
    bench.gets.clear()
    before = {path: path.stat().st_mtime_ns for path in bench.state.rglob("*")}
    assert not bench.node().changed_since()
    assert bench.gets == [f"{M}2.root.json", f"{M}timestamp.json"]
    assert {path: path.stat().st_mtime_ns for path in bench.state.rglob("*")} == before


def test_a_node_that_verified_nothing_yet_has_everything_to_learn(bench) -> None:
    assert bench.node().changed_since()
    assert bench.gets == []


def test_a_publish_a_refresh_and_a_new_root_each_show(bench, publisher, booted) -> None:
    settings = publisher.settings()
    publisher.refresh()
    assert bench.node(settings).changed_since()
    bench.node(settings).refresh()
    assert not bench.node(settings).changed_since()
    publisher.new_root("timestamp")
    assert bench.node(settings).changed_since()


def test_raised_floors_ask_for_a_refresh(bench, publisher, booted) -> None:
    assert bench.node(publisher.settings(targets_version=2)).changed_since()
    assert bench.node(publisher.settings(root_version=2)).changed_since()


def test_metadata_that_expired_meanwhile_asks_for_a_refresh(bench, booted) -> None:
    bench.age(days=15)
    assert bench.node().changed_since()


def test_what_was_tolerated_past_its_expiry_is_asked_for_again_even_if_the_clock_goes_back(bench) -> None:
    bench.age(days=20)
    assert bench.node().refresh().condition == "TrustDegraded"
    bench.age(days=-10)
    assert bench.node().changed_since()


def test_another_group_has_its_own_release(bench, publisher, booted) -> None:
    other = bench.node(publisher.settings(group="node"))
    assert other.changed_since()
    assert other.kept() is None


@pytest.mark.parametrize("name", ["release.json", "verified.json"])
@pytest.mark.parametrize("damage", [b"", b"{}", b"damaged"])
def test_a_damaged_record_is_as_good_as_none(bench, booted, name, damage) -> None:
    (bench.state / name).write_bytes(damage)
    assert bench.node().kept() is None
    assert bench.node().changed_since()
    assert bench.node().refresh() == booted


def test_an_older_timestamp_shows_as_a_change_and_is_then_refused(bench, publisher) -> None:
    old = publisher.objects[f"{M}timestamp.json"]
    settings = publisher.settings()
    publisher.publish()
    bench.node(settings).refresh()
    publisher.objects[f"{M}timestamp.json"] = old
    assert bench.node(settings).changed_since()
    with bench.refused("trust-rollback"):
        bench.node(settings).refresh()


def test_a_deleted_timestamp_is_said(bench, publisher, booted) -> None:
    del publisher.objects[f"{M}timestamp.json"]
    with pytest.raises(BootwrightError) as caught:
        bench.node().changed_since()
    assert caught.value.code == "s3-no-such-key"


def test_the_kept_release_needs_no_store(bench, booted) -> None:
    bench.server.close()
    assert bench.node().kept() == booted
    stale = bench.node().kept(details="the store does not answer")
    assert (stale.condition, stale.details) == ("TrustStale", "the store does not answer")


def test_a_poll_imports_neither_tuf_nor_botocore_nor_the_manifest_schema(bench, publisher, booted) -> None:
    script = f"""
import sys
from datetime import UTC, datetime
from pathlib import Path
from agent.aws.credentials import Credentials
from agent.aws.s3 import S3, Bucket
from agent.repository import Repository
from agent.settings import Settings

class Clock:
    def now(self):
        return datetime.fromisoformat({bench.clock.time.isoformat()!r})

settings = Settings.model_validate_json({publisher.settings().model_dump_json()!r})
s3 = S3(Bucket("demo-bucket", "eu-west-1", {bench.server.url!r}), lambda: Credentials("A", "s"))
node = Repository(settings, s3, clock=Clock(), state_dir=Path({str(bench.state)!r}), baked_root=Path("/nonexistent"))
assert node.changed_since() is False
heavy = {{"tuf", "securesystemslib", "botocore", "boto3", "units.manifest", "cryptography", "yaml", "jinja2"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
