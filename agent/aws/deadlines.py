"""One thread that ends whatever takes too long, for the whole process.

A threading.Timer for each exchange is a thread for each: 0.2 ms of CPU, and an issuer has five exchanges for a worker
(tests.bench.issuer: 5.9 ms a request with, 5.0 without). This thread sleeps until the next deadline that is due.
"""

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self


class Deadline:
    """`with` it: when `seconds` have passed, `cut` is called once, in another thread, and never after the end.

    `cut` must neither block nor raise.
    """

    __slots__ = ("_cut", "at", "expired", "seconds")

    def __init__(self, seconds: float, cut: Callable[[], None]) -> None:
        self.seconds = seconds
        self.expired = False
        self.at = math.inf
        self._cut: Callable[[], None] | None = cut

    def __enter__(self) -> Self:
        self.at = time.monotonic() + self.seconds
        _WATCHMAN.watch(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _WATCHMAN.looking:  # nothing is cut that has ended: its connection may serve the next exchange
            self._cut = None

    @property
    def ended(self) -> bool:
        return self._cut is None

    def expire(self) -> None:
        """By the watchman, who is looking."""
        if self._cut is not None:
            self.expired = True
            self._cut()
            self._cut = None


class _Watchman:
    """Deadlines that have ended stay in the heap until they would have been due: taking them out costs more."""

    def __init__(self) -> None:
        self.looking = threading.Condition()
        self._due: list[tuple[float, int, Deadline]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._wakes = math.inf

    def watch(self, deadline: Deadline) -> None:
        with self.looking:
            heapq.heappush(self._due, (deadline.at, next(self._numbers), deadline))
            if self._thread is None or not self._thread.is_alive():  # a fork has none
                self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                self._thread.start()
            elif deadline.at < self._wakes:
                self.looking.notify()

    def _watch(self) -> None:
        with self.looking:
            while True:
                now = time.monotonic()
                while self._due and (self._due[0][0] <= now or self._due[0][2].ended):
                    heapq.heappop(self._due)[2].expire()
                self._wakes = self._due[0][0] if self._due else math.inf
                self.looking.wait(self._wakes - now if self._due else None)


_WATCHMAN: Final = _Watchman()
