"""The real clock, and the only sleep on a node."""

import time
from collections.abc import Callable
from datetime import UTC, datetime


def _nobody(text: str) -> None:
    """Where nobody looks while the agent waits."""
    del text


class LinuxClock:
    """Implements `units.host.Clock`. `show` is told what every wait waits for: `Notifier.status` in a boot."""

    def __init__(self, show: Callable[[str], None] = _nobody) -> None:
        self._show = show

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float, reason: str) -> None:
        self._show(reason)
        time.sleep(max(0.0, seconds))
