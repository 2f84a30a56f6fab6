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
    clock.wait(0.01, "waiting for etcd")
    clock.wait(-1, "no time left")
    clock.wait(0, "waiting for etcd")
    assert shown == ["waiting for etcd", "no time left", "waiting for etcd"]


class LaterDouble(LinuxClock):
    later = 0.0

    def monotonic(self) -> float:
        return self.later


def test_a_long_wait_is_shown_again_from_time_to_time() -> None:
    shown: list[str] = []
    clock = LaterDouble(shown.append)
    for clock.later in (0.0, 9.9, 10.0, 19.0, 20.1):
        clock.wait(0, "waiting for etcd")
    assert len(shown) == 3
