"""Processes that outlive the one that started them, known by their id and the moment they began.

An id alone is recycled; with the start time of /proc/PID/stat it never means another process.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessMark:
    pid: int
    started: int  # field 22 of /proc/PID/stat: clock ticks after the host's boot

    def is_alive(self) -> bool:
        """A zombie is dead."""
        seen = _read(self.pid)
        return seen is not None and seen.state not in "ZX" and seen.started == self.started


@dataclass(frozen=True, slots=True)
class _Seen:
    pid: int
    name: str
    state: str
    session: int
    started: int


def mark(pid: int) -> ProcessMark:
    """Raises ProcessLookupError if there is no such process."""
    seen = _read(pid)
    if seen is None:
        raise ProcessLookupError(pid)
    return ProcessMark(pid, seen.started)


def spawn(argv: Sequence[str], output: Path) -> ProcessMark:
    """The leader of a new session, its output appended to a file; it lives on when this process ends."""
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), append, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return mark(os.posix_spawnp(argv[0], list(argv), os.environ, file_actions=actions, setsid=True))


def kill_session(leader: ProcessMark, names: frozenset[str], *, timeout: float = 10) -> None:
    """SIGKILL for the leader and all of its session, and wait until they are gone; no error when they are.

    Only for a process that was started as the leader of a session of its own. `names` are those that its helpers may
    have in /proc/PID/stat: once the leader itself has gone, nothing else in that session is taken for a helper.
    """
    deadline = time.monotonic() + timeout
    while members := _members(leader, names):
        for seen in members:
            _kill(seen.pid)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {[seen.pid for seen in members]} survive SIGKILL")
        _reap(leader.pid)
        time.sleep(0.01)
    _reap(leader.pid)


def _members(leader: ProcessMark, names: frozenset[str]) -> list[_Seen]:
    holder = _read(leader.pid)
    if holder is not None and holder.started != leader.started:
        return []  # the number went to someone else, which the kernel does only when all of the session has ended
    alone = holder is None or holder.state in "ZX"
    return [
        seen
        for seen in _processes()
        if seen.session == leader.pid and seen.state not in "ZX" and (not alone or seen.name in names)
    ]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _reap(pid: int) -> None:
    """If it was our own child; someone else's is init's to reap."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _processes() -> Iterator[_Seen]:
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (seen := _read(int(path.name))) is not None:
            yield seen


def _read(pid: int) -> _Seen | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the name in brackets, which may itself hold spaces and brackets.
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    name = head.partition("(")[2]
    return _Seen(pid, name, state=fields[0], session=int(fields[3]), started=int(fields[19]))
