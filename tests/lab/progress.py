"""What the lab is doing and how long it took, a line each on stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announce, do, and say the seconds; a failure is announced as one and goes on."""
    say(f"{text} ...")
    started = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"{text}: FAILED after {time.monotonic() - started:.1f} s")
        raise
    say(f"{text}: {time.monotonic() - started:.1f} s")
