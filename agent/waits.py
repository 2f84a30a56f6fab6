"""Every wait of the agent has a name, a limit on a monotonic clock, and shows up in the status while it lasts."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from units.errors import Retryable

Result = TypeVar("Result")
REMIND = 10.0  # seconds: an upload of the status is left out when it comes soon after another


def silent(name: str) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True, slots=True)
class Waits:
    """`progress` is told each wait and why, at each change and now and then: `NAME: CODE: MESSAGE`. The code is one of
    docs/troubleshooting.md. Status, console and sd_notify show it.
    """

    progress: Callable[[str], None] = silent
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def until(
        self,
        name: str,
        attempt: Callable[[], Result],
        *,
        limit: float,
        pause: float = 0.2,
        longest: float = 5.0,
        on: type[Retryable] = Retryable,
    ) -> Result:
        """Call `attempt` until it returns; all in seconds.

        An `on` error from it is waited out, with pauses that double up to `longest` and lose up to a half at random,
        so that a thousand nodes do not ask in step; never shorter than its `after`, which gains up to a quarter. At the
        limit, when it is asked a last time, the last one goes to the caller; every other error goes at once.
        """
        deadline = self.monotonic() + limit
        announced, at = "", float("-inf")
        while True:
            try:
                return attempt()
            except on as error:
                left = deadline - self.monotonic()
                if left <= 0:
                    raise
                now = self.monotonic()
                said = f"{name}: {error.code}: {error.message}"
                if said != announced or now - at >= REMIND:
                    self.progress(said)
                    announced, at = said, now
                least = error.after or 0.0
            chosen = max(pause * random.uniform(0.5, 1.0), least * random.uniform(1.0, 1.25))  # noqa: S311  spreads load
            self.sleep(min(left, chosen))
            pause = min(pause * 2, longest)
