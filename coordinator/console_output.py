"""What a machine printed on its console, of which the agent's last verdict matters. Pure.

systemd's journal puts `[ seconds] program[pid]: ` before what a unit prints there; the program is what the unit's file
calls it, and an older image calls it `python`.
"""

import re
from collections.abc import Iterator
from typing import Final

LINES: Final = 8
_LONGEST: Final = 300
_LINE: Final = re.compile(r"^(?:\[ *\d+\.\d+\] *)?(?:(?P<who>[\w.@-]+\[\d+\]): ?)?(?P<said>.*)$")
_VERDICT: Final = re.compile(r"^agent boot: ")
_DETAIL: Final = re.compile(r"^ +(error|warning|remedy): ")
_REMEDY: Final = re.compile(r"^ +remedy: (.*)$")


def agents_words(text: str) -> tuple[str, ...]:
    """The agent's last verdict with its conditions; without one, its last lines, or the last of all."""
    lines = [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    verdict = list(_last_verdict(lines))[:LINES]
    ours = [line.strip() for line in lines if "bootwright" in line or "agent" in line]
    found = verdict or [line.strip() for line in (ours or lines)[-LINES:]]
    return tuple(line[:_LONGEST] for line in found)


def remedy_of(words: tuple[str, ...]) -> str:
    """What the agent said to do; empty if it said nothing."""
    return next((found[1] for line in words if (found := _REMEDY.match(line))), "")


def _last_verdict(lines: list[str]) -> Iterator[str]:
    """One process prints it, and others print meanwhile."""
    parsed = [found for line in lines if (found := _LINE.match(line))]
    last = max((number for number, found in enumerate(parsed) if _VERDICT.match(found["said"])), default=None)
    if last is None:
        return
    yield parsed[last]["said"]
    for found in parsed[last + 1 :]:
        if found["who"] == parsed[last]["who"] and _DETAIL.match(found["said"]):
            yield found["said"]
