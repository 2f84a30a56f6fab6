"""Commands that show the same again and again, until Ctrl-C."""

import sys
import time
from collections.abc import Callable

from coordinator.console import note, warn

_CLEAR = "\x1b[2J\x1b[H"


def repeat(
    show: Callable[[], object],
    *,
    watch: bool,
    interval: str,
    sleep: Callable[[float], None] = time.sleep,
    clear: bool = True,
) -> None:
    """Once, or with `watch` until `show` returns True. What can be tried again is a warning then, and tried again."""
    from coordinator.commands.durations import duration
    from units.errors import Retryable

    seconds = max(1.0, duration("--interval", interval).total_seconds())
    if not watch:
        show()
        return
    while True:
        if clear and sys.stdout.isatty():
            sys.stdout.write(_CLEAR)
            sys.stdout.flush()
        try:
            if show() is True:
                return
        except Retryable as error:
            warn(f"{error.message}; tried again in {round(seconds)} s")
        note("")
        sleep(seconds)
