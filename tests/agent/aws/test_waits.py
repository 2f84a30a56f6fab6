import pytest

from agent.waits import Waits
from units.errors import Fatal, Retryable


def test_an_attempt_that_works_never_sleeps(waits: Waits, clock, said) -> None:
    assert waits.until("a wait", lambda: 7, limit=10) == 7
    assert (clock.sleeps, said) == ([], [])


def test_a_wait_is_announced_once_with_its_name_and_reason(waits: Waits, said) -> None:
    left = [Retryable("x", "not attached"), Retryable("x", "not attached"), "done"]

    def attempt() -> str:
        item = left.pop(0)
        if isinstance(item, Retryable):
            raise item
        return item

    assert waits.until("attaching vol-1", attempt, limit=10) == "done"
    assert said == ["attaching vol-1: not attached"]


def test_a_wait_ends_at_its_limit_with_the_last_error(waits: Waits, clock) -> None:
    def attempt() -> None:
        raise Retryable("x", f"at {clock.now:.0f}")

    with pytest.raises(Retryable, match="at 30") as caught:
        waits.until("for ever", attempt, limit=30, longest=4)
    assert caught.value.code == "x"
    assert clock.now == pytest.approx(30)
    assert max(clock.sleeps) <= 4


def test_other_errors_are_not_waited_out(waits: Waits, clock) -> None:
    class Narrow(Retryable):
        pass

    def fatal() -> None:
        raise Fatal("f", "never")

    def wide() -> None:
        raise Retryable("w", "not mine")

    with pytest.raises(Fatal):
        waits.until("x", fatal, limit=30)
    with pytest.raises(Retryable, match="not mine"):
        waits.until("x", wide, limit=30, on=Narrow)
    assert clock.sleeps == []


def test_a_long_wait_is_said_again_now_and_then_for_whoever_missed_it() -> None:
    now = [0.0]
    said: list[str] = []
    waits = Waits(
        progress=said.append, monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds)
    )

    def attempt() -> None:
        raise Retryable("not-yet", "still attached to i-2")

    with pytest.raises(Retryable):
        waits.until("the volume", attempt, limit=60.0)
    assert 4 <= len(said) <= 7
    assert set(said) == {"the volume: still attached to i-2"}
