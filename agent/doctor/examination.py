"""Runs the checks: those that wait for nobody at once, each under its own deadline, all of them within one.

A thread cannot be ended from outside. One that hangs (a resolver, a disk) is left behind as a daemon, and what it
would have said counts as "no answer": the process ends without waiting for it.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from agent.doctor.finding import Examined, Finding, fail, failed, skipped
from pki.errors import PkiError
from units.errors import BootwrightError

Case = TypeVar("Case")
LIMIT = 25.0  # seconds for all checks together; a person at 3 am gives up after a minute
_NO_ANSWER = "doctor-no-answer"
_BROKEN = "doctor-check-broken"


@dataclass(frozen=True, slots=True)
class Check(Generic[Case]):
    """`needs`: checks that must not have failed, else this one is skipped. `after`: checks that must have ended."""

    name: str
    look: Callable[[Case], Finding]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    seconds: float = 6.0


@dataclass(frozen=True, slots=True)
class _Running(Generic[Case]):
    check: Check[Case]
    begun: float

    @property
    def deadline(self) -> float:
        return self.begun + self.check.seconds


def examine(
    case: Case,
    checks: Sequence[Check[Case]],
    *,
    limit: float = LIMIT,
    monotonic: Callable[[], float] = time.monotonic,
) -> tuple[Examined, ...]:
    """In the order of `checks`, whatever order they end in. Returns within `limit` seconds."""
    end = monotonic() + limit
    ended: dict[str, Examined] = {}
    running: dict[str, _Running[Case]] = {}
    answers: queue.SimpleQueue[tuple[str, Finding]] = queue.SimpleQueue()
    while len(ended) < len(checks):
        _start_what_can(case, checks, ended, running, answers, monotonic())
        if len(ended) == len(checks):
            break
        nearest = min([end, *(one.deadline for one in running.values())])
        try:
            name, finding = answers.get(timeout=max(0.0, nearest - monotonic()))
        except queue.Empty:
            _give_up(ended, running, monotonic())
        else:
            if name in running:  # not given up on meanwhile
                ended[name] = Examined(name, finding, monotonic() - running.pop(name).begun)
        if monotonic() >= end:
            break
    for check in checks:
        if check.name not in ended:
            ended[check.name] = Examined(check.name, _out_of_time(check, running, limit))
    return tuple(ended[check.name] for check in checks)


def _start_what_can(
    case: Case,
    checks: Sequence[Check[Case]],
    ended: dict[str, Examined],
    running: dict[str, _Running[Case]],
    answers: "queue.SimpleQueue[tuple[str, Finding]]",
    now: float,
) -> None:
    for check in checks:  # in order, so that one which is skipped lets those behind it be skipped in the same round
        if check.name in ended or check.name in running:
            continue
        if any(name not in ended for name in (*check.needs, *check.after)):
            continue
        bad = [name for name in check.needs if ended[name].finding.state in ("fail", "skipped")]
        if bad:
            ended[check.name] = Examined(check.name, skipped(f"cannot be told before {bad[0]} is ok"))
            continue
        running[check.name] = _Running(check, now)
        threading.Thread(target=_look, args=(case, check, answers), name=check.name, daemon=True).start()


def _look(case: Case, check: Check[Case], answers: "queue.SimpleQueue[tuple[str, Finding]]") -> None:
    try:
        finding = check.look(case)
    except (BootwrightError, PkiError) as error:
        finding = failed(error)
    except OSError as error:
        finding = fail(f"{error}", "look at what the message names", "doctor-unreadable")
    except Exception as error:  # noqa: BLE001  the top of a thread: one broken check must not end the diagnosis
        finding = fail(f"{type(error).__name__}: {error}", "report this: a defect of bootwright", _BROKEN)
    answers.put((check.name, finding))


def _give_up(ended: dict[str, Examined], running: dict[str, _Running[Case]], now: float) -> None:
    for name, one in list(running.items()):
        if now >= one.deadline:
            ended[name] = Examined(name, _no_answer(one.check), now - one.begun)
            del running[name]


def _no_answer(check: Check[Case]) -> Finding:
    found = f"no answer within {check.seconds:.0f} s"
    return fail(found, "something hangs: `dmesg | tail`, `systemctl list-jobs`; try again", _NO_ANSWER)


def _out_of_time(check: Check[Case], running: dict[str, _Running[Case]], limit: float) -> Finding:
    return _no_answer(check) if check.name in running else skipped(f"no time left: {limit:.0f} s are for all checks")
