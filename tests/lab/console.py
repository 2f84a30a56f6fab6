"""A person at a machine: its second console line (root, no network needed) and the log of its first."""

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

from tests.lab import mconsole

LEAVE = b"\x1d"  # Ctrl-], as telnet and virsh have it


def terminal_of(socket: Path) -> Path:
    """The host's end of the guest's /dev/tty1. Raises mconsole.ConsoleError."""
    kind, _, device = mconsole.ask(socket, "config con1").partition(":")
    if kind != "pts" or not device:
        raise mconsole.ConsoleError(f"the second console line is {kind or 'closed'}, not a terminal")
    return Path(device)


def attach(socket: Path) -> None:
    """Keyboard and screen belong to the guest until Ctrl-]."""
    device = os.open(terminal_of(socket), os.O_RDWR | os.O_NOCTTY)
    try:
        tty.setraw(device)
        print("Ctrl-] leaves; Enter brings up the prompt", file=sys.stderr)
        with _raw(sys.stdin.fileno()):
            _relay(device)
    finally:
        os.close(device)


def follow(log: Path, *, lines: int = 50) -> Iterator[str]:
    """The end of a console's log and then whatever is added, for ever."""
    with log.open(errors="replace") as file:
        yield "".join(file.readlines()[-lines:])
        while True:
            added = file.read()
            if added:
                yield added
            else:
                time.sleep(0.1)


def _relay(device: int) -> None:
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    while True:
        ready, _, _ = select.select([keyboard, device], [], [])
        if device in ready:
            try:
                os.write(screen, os.read(device, 4096))
            except OSError:  # the guest went off and its line with it
                return
        if keyboard in ready:
            typed = os.read(keyboard, 4096)
            if not typed or LEAVE in typed:
                return
            os.write(device, typed)


@contextlib.contextmanager
def _raw(keyboard: int) -> Iterator[None]:
    if not os.isatty(keyboard):
        yield
        return
    before = termios.tcgetattr(keyboard)
    try:
        tty.setraw(keyboard)
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
