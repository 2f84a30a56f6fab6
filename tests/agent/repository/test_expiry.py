"""Expiry never stops autoscaling at 3 am, and never lets anybody freeze a fleet for ever (trust.md 1.6)."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from units.errors import Refused

M = "demo/tuf/metadata/"
ROLES = ["root", "timestamp", "snapshot", "targets"]


def expire(publisher, role: str, *, days_ago: int) -> None:
    """Publish once more, with this role's metadata signed as if its life had ended so many days ago."""
    publisher.lifetimes[role] = -days_ago
    if role == "root":
        publisher.new_root()
    publisher.publish()


@pytest.mark.parametrize("role", ROLES)
def test_t14_a_booting_node_takes_what_expired_within_thirty_days(bench, publisher, role) -> None:
    expire(publisher, role, days_ago=10)
    found = bench.node().refresh()
    assert found.condition == "TrustDegraded"
    assert role in found.details
    assert found.release == b'{"serial": 1}\n'


@pytest.mark.parametrize("role", ROLES)
def test_t14_a_running_node_keeps_what_it_has_and_takes_nothing_new(bench, publisher, booted, role) -> None:
    publisher.publish({"control-plane": b"newer"})
    expire(publisher, role, days_ago=10)
    found = bench.node(publisher.settings(targets_version=1)).refresh(running=True)
    assert found.condition == "TrustStale"
    assert role in found.details
    assert found.release == booted.release


@pytest.mark.parametrize("role", ROLES)
def test_t15_more_than_thirty_days_is_a_freeze(bench, publisher, role) -> None:
    expire(publisher, role, days_ago=31)
    with bench.refused("trust-freeze-expired", role, "freeze attack", "2026-11-23"):
        bench.node().refresh()


def test_t15_a_running_node_keeps_going_even_after_that(bench, publisher, booted) -> None:
    bench.age(days=60)
    assert bench.node().refresh(running=True).condition == "TrustStale"
    with bench.refused("trust-freeze-expired"):
        bench.node().refresh()


def test_t14_expiry_excuses_no_missing_signature(bench, publisher, thief) -> None:
    publisher.signers["targets"] = thief().signers["targets"]
    expire(publisher, "timestamp", days_ago=10)
    with bench.refused("trust-unsigned", "targets.json"):
        bench.node().refresh()


def test_t14_expiry_excuses_no_rollback_below_user_data(bench, publisher) -> None:
    expire(publisher, "timestamp", days_ago=10)
    with bench.refused("trust-rollback", "user-data demands"):
        bench.node(publisher.settings(targets_version=99)).refresh()


def test_t14_expiry_excuses_no_rollback_below_what_was_seen(bench, publisher) -> None:
    settings = publisher.settings()
    old = dict(publisher.objects)
    publisher.publish()
    bench.node(settings).refresh()
    publisher.objects.clear()
    publisher.objects.update(old)
    bench.age(days=20)
    with bench.refused("trust-rollback"):
        bench.node(settings).refresh()


def test_t14_expiry_excuses_no_hidden_root(bench, publisher) -> None:
    bench.baked.write_bytes(publisher.objects[f"{M}1.root.json"])
    expire(publisher, "timestamp", days_ago=10)
    publisher.new_root()
    settings = publisher.settings()
    del publisher.objects[f"{M}2.root.json"]
    with bench.refused("trust-root-floor"):
        bench.node(settings).refresh()


def test_a_degraded_node_is_fresh_again_after_a_refresh(bench, publisher) -> None:
    bench.age(days=20)
    assert bench.node().refresh().condition == "TrustDegraded"
    assert bench.node().changed_since()
    assert bench.node().kept().condition == "TrustStale"
    publisher.now = bench.clock.time
    publisher.refresh()
    assert bench.node().refresh().condition == "Fresh"


def test_t22_a_clock_set_back_does_not_make_old_signatures_fresh_again(bench, publisher, booted) -> None:
    bench.age(days=10)
    publisher.now = bench.clock.time
    publisher.refresh()
    bench.node().refresh()
    bench.age(days=-9)  # the thief serves what was signed for the first 14 days, and turns the clock back
    publisher.now = bench.clock.time - timedelta(days=6)
    publisher.refresh()
    assert bench.node().refresh().condition == "TrustDegraded"
    assert json.loads((bench.state / "floors.a.json").read_bytes())["last_known_time"].startswith("2026-12-03")


def test_t22_a_clock_before_the_images_build_counts_as_its_build(bench, publisher) -> None:
    import os

    bench.baked.write_bytes(publisher.objects[f"{M}1.root.json"])
    built = (bench.clock.time + timedelta(days=20)).timestamp()
    os.utime(bench.baked, (built, built))
    assert bench.node().refresh().condition == "TrustDegraded"


def test_t22_a_clock_a_year_behind_is_no_obstacle_and_one_a_year_ahead_is_a_freeze(bench, booted) -> None:
    bench.age(days=-365)
    assert bench.node().refresh().condition == "Fresh"
    bench.age(days=2 * 365)
    with bench.refused("trust-freeze-expired"):
        bench.node().refresh()
    bench.age(days=-365)
    assert bench.node().refresh().condition == "Fresh"  # a wrong clock left no mark


def test_t25_the_private_switch_of_python_tuf_is_still_there(bench, publisher, tmp_path) -> None:
    """`_trusted_set.reference_time` decides about expiry, and nothing else does. If this fails, python-tuf changed."""
    from tuf.api.exceptions import ExpiredMetadataError
    from tuf.ngclient.updater import Updater

    from agent.aws.fetch import StoreFetcher

    def updater(at: datetime) -> Updater:
        made = Updater(
            str(tmp_path / at.isoformat()),
            M,
            fetcher=StoreFetcher(bench.s3()),
            bootstrap=publisher.objects[f"{M}1.root.json"],
        )
        assert isinstance(made._trusted_set.reference_time, datetime)
        made._trusted_set.reference_time = at
        return made

    within, after = bench.clock.time + timedelta(days=13), bench.clock.time + timedelta(days=15)
    fresh = updater(within)
    fresh.refresh()
    assert fresh._trusted_set.timestamp.version == 1
    with pytest.raises(ExpiredMetadataError):
        updater(after).refresh()


def test_expiry_is_judged_by_the_given_clock_and_no_other(bench, publisher) -> None:
    assert bench.clock.time.year == 2026
    bench.clock.time = datetime(2019, 1, 1, tzinfo=UTC)
    assert bench.node().refresh().condition == "Fresh"
    bench.clock.time = datetime(2030, 1, 1, tzinfo=UTC)
    with pytest.raises(Refused):
        bench.node().refresh()
