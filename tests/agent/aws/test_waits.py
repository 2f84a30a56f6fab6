from itertools import pairwise

import pytest

from agent.waits import Waits
from units.errors import Fatal, Retryable


def test_an_attempt_that_works_never_sleeps(waits: Waits, clock, said) -> None:
    assert waits.until("a wait", lambda: 7, limit=10) == 7
    assert (clock.sleeps, said) == ([], [])


def test_a_wait_is_announced_once_with_its_name_its_code_and_its_reason(waits: Waits, said) -> None:
    left = [Retryable("volume-held", "held by i-2"), Retryable("volume-held", "held by i-2"), "done"]

    def attempt() -> str:
        item = left.pop(0)
        if isinstance(item, Retryable):
            raise item
        return item

    assert waits.until("attaching vol-1", attempt, limit=10) == "done"
    assert said == ["attaching vol-1: volume-held: held by i-2"]


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
    assert set(said) == {"the volume: not-yet: still attached to i-2"}


@pytest.mark.parametrize("after", [2.0, 10.0, 60.0])
def test_what_says_when_to_ask_again_is_not_asked_before(waits: Waits, clock, after: float) -> None:
    """Throttling and denials: asked every second they last longer, and go into the account's own limit."""
    asked: list[float] = []

    def attempt() -> None:
        asked.append(clock.now)
        raise Retryable("ec2-busy", "EC2 is busy", after=after)

    with pytest.raises(Retryable):
        waits.until("the volume", attempt, limit=300.0, pause=1.0, longest=2.0)
    pauses = [later - earlier for earlier, later in pairwise(asked)]
    assert all(after <= pause <= 1.25 * after for pause in pauses[:-1])
    assert len(set(pauses)) > 1, "a thousand nodes that were refused together do not come back together"
    assert asked[-1] == pytest.approx(300.0)
    assert 300 / 1.25 / after <= len(asked) <= 300 / after + 2


def test_what_says_nothing_is_asked_at_the_pace_of_the_wait(waits: Waits, clock) -> None:
    def attempt() -> None:
        raise Retryable("volume-held", "still attached to i-2")

    with pytest.raises(Retryable):
        waits.until("the volume", attempt, limit=60.0, pause=1.0, longest=2.0)
    assert max(clock.sleeps) <= 2.0


def test_a_pause_never_goes_beyond_the_limit_of_the_wait(waits: Waits, clock) -> None:
    left = [Retryable("ec2-access-denied", "denied", after=60.0)]

    def attempt() -> str:
        if left:
            raise left.pop()
        return "allowed meanwhile"

    assert waits.until("asking EC2", attempt, limit=20.0) == "allowed meanwhile"
    assert clock.sleeps == [20.0]


def test_after_a_throttle_the_wait_finds_back_to_its_own_pace(waits: Waits, clock) -> None:
    left = [Retryable("ec2-busy", "busy", after=10.0), Retryable("volume-attaching", "attaching"), None]

    def attempt() -> None:
        if error := left.pop(0):
            raise error

    waits.until("the volume", attempt, limit=60.0, pause=1.0, longest=2.0)
    assert clock.sleeps[0] >= 10.0
    assert clock.sleeps[1] <= 2.0
