"""Writes at most twice a second, and never loses the last one: what a boot of ninety steps says of each step.

A plan whose resources are all right takes a millisecond each. Writing the status for every one of them was a sixth of
all files that a boot opened, and nobody reads that fast. A step that lasts is seen: whatever waits is written by a
timer, also while the agent is inside a call that takes minutes.
"""

import logging
import threading
import time
from collections.abc import Callable

LOG = logging.getLogger("bootwright")
PAUSE = 0.5  # seconds


class Soon:
    """Calls `write` now, or within `pause` seconds; of several calls meanwhile only one remains.

    `write` takes what is current at that moment from its owner. The timer is no daemon: an agent that ends, even by an
    exception that nobody foresaw, waits for what is still to be written.
    """

    def __init__(self, write: Callable[[], None], *, pause: float = PAUSE) -> None:
        self._write = write
        self._pause = pause
        self._written = float("-inf")
        self._later: threading.Timer | None = None
        self._lock = threading.Lock()

    def now(self) -> None:
        """What `write` raises comes to the caller."""
        with self._lock:
            self._cancel()
            self._written = time.monotonic()
            self._write()

    def soon(self) -> None:
        """As `now` if the last time is long enough ago."""
        left = self._written + self._pause - time.monotonic()
        if left <= 0:
            self.now()
            return
        with self._lock:
            if self._later is None:
                self._later = threading.Timer(left, self._due)
                self._later.start()

    def _due(self) -> None:
        with self._lock:
            if self._later is not threading.current_thread():  # overtaken by `now`
                return
            self._later = None
            self._written = time.monotonic()
            try:
                self._write()
            except OSError as error:  # the next one says it to the run itself, if it still holds
                LOG.warning("status not written: %s", error)

    def _cancel(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
