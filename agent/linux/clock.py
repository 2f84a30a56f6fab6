"""The real clock, and the only sleep on a node."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

_REMIND = 10.0  # seconds


def _nobody(text: str) -> None:
    """Where nobody looks while the agent waits."""
    del text


class LinuxClock:
    """Implements `units.host.Clock`. `show` is told what is waited for: once per reason, and again every ten seconds.

    A loop that polls four times a second is one wait to whoever looks.
    """

    def __init__(self, show: Callable[[str], None] = _nobody) -> None:
        self._show = show
        self._shown = ("", float("-inf"))  # reason, when

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float, reason: str) -> None:
        last, at = self._shown
        if reason != last or self.monotonic() - at >= _REMIND:
            self._shown = (reason, self.monotonic())
            self._show(reason)
        time.sleep(max(0.0, seconds))
