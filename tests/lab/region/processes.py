"""Processes the lab started, remembered so that they can be ended later by the right pid and by nothing else."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOCK = Path("/run/lock/bootwright-lab.lock")


class LabBusy(RuntimeError):
    pass


@dataclass(frozen=True, slots=True)
class Process:
    """started: clock ticks since boot from /proc, which a recycled pid cannot have in common."""

    pid: int
    started: int
    name: str

    @staticmethod
    def of(pid: int, name: str) -> "Process":
        return Process(pid, _started(pid) or 0, name)

    @staticmethod
    def read(line: str) -> "Process":
        pid, started, name = line.split(maxsplit=2)
        return Process(int(pid), int(started), name)

    def line(self) -> str:
        return f"{self.pid} {self.started} {self.name}\n"

    def is_alive(self) -> bool:
        return self.started != 0 and _started(self.pid) == self.started

    def end(self, patience: float = 10.0) -> None:
        """SIGTERM, then SIGKILL after `patience` seconds; returns when it is gone."""
        for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 10.0)):
            deadline = time.monotonic() + seconds
            if not self.is_alive():
                return
            os.kill(self.pid, number)
            while self.is_alive() and time.monotonic() < deadline:
                time.sleep(0.05)


def remember(ledger: Path, process: Process) -> None:
    with ledger.open("a") as file:
        file.write(process.line())


def end_leftovers(ledger: Path) -> list[Process]:
    """End whatever a killed lab left behind, and forget it. Returns what was still alive."""
    if not ledger.exists():
        return []
    alive = [p for p in map(Process.read, ledger.read_text().splitlines()) if p.is_alive()]
    for process in alive:
        process.end()
    ledger.unlink()
    return alive


@contextmanager
def only_lab_on_this_host(run_directory: Path) -> Iterator[None]:
    """One lab at a time has the bridge. The kernel drops the lock when its holder dies, so it is never stale."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise LabBusy(f"a lab is running already: {file.read().strip()}; end it first") from None
        previous = _run_directory(file.read() if not file.seek(0) else "")
        if previous:
            end_leftovers(previous / "processes")
        file.truncate(0)
        file.write(f"pid {os.getpid()}, run directory {run_directory}")
        file.flush()
        yield
        file.truncate(0)


def _run_directory(text: str) -> Path | None:
    _, found, path = text.partition("run directory ")
    return Path(path.strip()) if found else None


def _started(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (proc(5)); None for a process that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])
