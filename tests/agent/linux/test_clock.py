from datetime import UTC, datetime, timedelta

from agent.linux.clock import LinuxClock


def test_now_is_aware_and_utc() -> None:
    now = LinuxClock().now()
    assert now.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - now) < timedelta(minutes=1)


def test_a_wait_lasts_and_says_what_it_waits_for() -> None:
    shown: list[str] = []
    clock = LinuxClock(shown.append)
    before = clock.monotonic()
    clock.wait(0.01, "waiting for etcd")
    assert clock.monotonic() - before >= 0.01
    clock.wait(-1, "no time left")
    assert shown == ["waiting for etcd", "no time left"]
