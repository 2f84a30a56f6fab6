"""What the lab has running, written down so that it can be ended later by the right pid and by nothing else."""

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.processes import ProcessMark, kill_session, mark

LOCK = Path("/run/lock/bootwright-lab.lock")


class LabBusy(RuntimeError):
    pass


@dataclass(frozen=True, slots=True)
class Entry:
    """A process that leads a session of its own."""

    process: ProcessMark
    name: str

    @staticmethod
    def read(line: str) -> "Entry":
        pid, started, name = line.split(maxsplit=2)
        return Entry(ProcessMark(int(pid), int(started)), name)

    def line(self) -> str:
        return f"{self.process.pid} {self.process.started} {self.name}\n"

    def end(self, patience: float) -> None:
        """SIGTERM; after `patience` seconds SIGKILL for its whole session. Returns when it is gone."""
        deadline = time.monotonic() + patience
        if self.process.is_alive():
            os.kill(self.process.pid, signal.SIGTERM)
        while self.process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        kill_session(self.process, frozenset({self.name}))


def remember(ledger: Path, pid: int, name: str) -> None:
    with ledger.open("a") as file:
        file.write(Entry(mark(pid), name).line())


def entries(ledger: Path) -> list[Entry]:
    """In the order they were started; the region's own process is the first."""
    return [Entry.read(line) for line in ledger.read_text().splitlines()] if ledger.exists() else []


def end_all(ledger: Path, patience: float = 5.0) -> list[Entry]:
    """End whatever of it is still alive, and forget it. Returns what was alive."""
    alive = [entry for entry in entries(ledger) if entry.process.is_alive()]
    for entry in alive:
        entry.end(patience)
    ledger.unlink(missing_ok=True)
    return alive


@contextmanager
def only_lab_on_this_host(run_directory: Path) -> Iterator[Path | None]:
    """One lab at a time has the bridge. The kernel drops the lock when its holder dies, so it is never stale.

    Yields the run directory of a holder that died without cleaning up, if there was one. Raises LabBusy.
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("a+") as file:
        file.seek(0)
        holder = file.read()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LabBusy(f"a lab is up on this host already ({holder}); end it first") from None
        file.truncate(0)
        file.write(f"run directory {run_directory}")
        file.flush()
        _, found, path = holder.partition("run directory ")
        yield Path(path) if found else None
        file.truncate(0)
