"""Deadlines: one thread for all of them, none missed, and nothing cut that has ended."""

import threading

from agent.aws.deadlines import Deadline

PATIENCE = 30.0  # seconds that a test waits for what comes at once


def test_what_lasts_too_long_is_cut_once_and_says_so() -> None:
    calls, cut = [], threading.Event()

    def end() -> None:
        calls.append(1)
        cut.set()

    with Deadline(0.01, end) as deadline:
        assert cut.wait(PATIENCE)
        _wait_for_a_later_one()
    assert (deadline.expired, calls) == (True, [1])


def test_what_ended_in_time_is_never_cut() -> None:
    calls: list[int] = []
    with Deadline(0.05, lambda: calls.append(1)) as deadline:
        pass
    _wait_for_a_later_one(0.1)
    assert (deadline.expired, calls) == (False, [])


def test_a_near_deadline_does_not_wait_for_a_far_one() -> None:
    cut = threading.Event()
    with Deadline(3600, lambda: None) as far:
        with Deadline(0.01, cut.set) as near:
            assert cut.wait(PATIENCE)
        assert (near.expired, far.expired) == (True, False)


def test_any_number_of_them_has_one_thread() -> None:
    before = threading.active_count()
    deadlines = [Deadline(3600, lambda: None).__enter__() for _ in range(500)]
    assert threading.active_count() <= before + 1
    for deadline in deadlines:
        deadline.__exit__(None, None, None)


def test_those_of_many_threads_are_all_kept() -> None:
    cut = [threading.Event() for _ in range(40)]

    def last_too_long(event: threading.Event) -> None:
        with Deadline(0.02, event.set):
            event.wait(PATIENCE)

    threads = [threading.Thread(target=last_too_long, args=(event,)) for event in cut]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(event.is_set() for event in cut)


def _wait_for_a_later_one(seconds: float = 0.02) -> None:
    """When this one is cut, whatever was due before it has been looked at."""
    over = threading.Event()
    with Deadline(seconds, over.set):
        assert over.wait(PATIENCE)
