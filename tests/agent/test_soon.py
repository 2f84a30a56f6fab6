"""The status is written seldom while steps fly past, and always holds the last one."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.soon import Soon

CHECKOUT = Path(__file__).parents[2]
LONG = 3600.0


class Page:
    """What is to be written, and what was."""

    def __init__(self, *, pause: float) -> None:
        self.text = ""
        self.written: list[str] = []
        self.another = threading.Event()
        self.full = False
        self.soon = Soon(self._write, pause=pause)

    def say(self, text: str) -> None:
        self.text = text
        self.soon.soon()

    def _write(self) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.written.append(self.text)
        self.another.set()


def test_of_a_hundred_steps_in_no_time_the_first_is_written_at_once_and_the_rest_waits() -> None:
    page = Page(pause=LONG)
    for number in range(100):
        page.say(f"step {number}")
    assert page.written == ["step 0"]
    page.soon.now()  # and ends the timer
    assert page.written == ["step 0", "step 99"]


def test_a_step_that_lasts_is_written_while_it_lasts() -> None:
    page = Page(pause=0.05)
    page.say("a quick one")
    page.say("another quick one")
    page.another.clear()
    page.say("one that takes minutes")
    assert page.another.wait(30)
    assert page.written == ["a quick one", "one that takes minutes"]


def test_what_was_written_at_once_is_not_written_again_by_the_timer() -> None:
    page = Page(pause=0.05)
    page.say("first")
    page.say("second")
    page.soon.now()
    waiting = threading.Event()
    assert not waiting.wait(0.2)
    assert page.written == ["first", "second"]


def test_a_full_disk_is_said_to_the_run_and_not_to_a_thread(caplog: pytest.LogCaptureFixture) -> None:
    page = Page(pause=0.05)
    page.say("first")
    page.full = True
    with pytest.raises(OSError, match="No space left"):
        page.soon.now()
    page.full = False
    page.soon.now()
    assert page.written == ["first", "first"]


def test_an_agent_that_ends_by_surprise_has_written_its_last_step(tmp_path: Path) -> None:
    """A process of its own: what counts is what is on the disk when it is gone."""
    program = (
        "import pathlib, sys; from agent.soon import Soon\n"
        "now = ['first']; page = pathlib.Path(sys.argv[1])\n"
        "soon = Soon(lambda: page.write_text(now[0]), pause=0.3)\n"
        "soon.soon(); now[0] = 'the step that broke'; soon.soon()\n"
        "raise RuntimeError('nobody foresaw this')\n"
    )
    page = tmp_path / "status"
    done = subprocess.run([sys.executable, "-c", program, str(page)], cwd=CHECKOUT, check=False, capture_output=True)
    assert b"nobody foresaw" in done.stderr
    assert page.read_text() == "the step that broke"
