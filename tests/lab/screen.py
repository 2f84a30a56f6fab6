"""What a person reads while the lab works: steps, commands, waits."""

import shlex
import sys
import time
from collections.abc import Sequence


class Screen:
    """Steps go to stderr: stdout holds only what the commands print. Waits overwrite one line on a terminal."""

    def __init__(self) -> None:
        self._tty = sys.stderr.isatty()
        self._begun = time.monotonic()
        self._last = ""

    def step(self, text: str) -> None:
        self._end_wait()
        self._write(
            f"\n\033[1m==> [{self._elapsed()}] {text}\033[0m\n" if self._tty else f"\n==> [{self._elapsed()}] {text}\n"
        )

    def note(self, text: str) -> None:
        self._end_wait()
        self._write(f"{text}\n")

    def command(self, arguments: Sequence[str]) -> None:
        self._end_wait()
        self._write(f"$ {shlex.join(arguments)}\n")

    def wait(self, text: str) -> None:
        """The wait under way; printed when it changes."""
        if text == self._last:
            return
        self._last = text
        self._write(
            f"\r\033[K    [{self._elapsed()}] {text[:150]}" if self._tty else f"    [{self._elapsed()}] {text}\n"
        )

    def _end_wait(self) -> None:
        if self._last and self._tty:
            self._write("\n")
        self._last = ""

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._begun:5.1f} s"

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
