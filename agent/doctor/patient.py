"""What the doctor may reach: one machine. A test puts a sandbox root and loopback servers in the real one's place."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from agent.aws.imds import BASE_URL, Imds
from agent.doctor.listeners import Listener, listeners
from agent.linux.machine import time_synchronised_now as time_synchronised
from agent.linux.probes import LoopbackProbes
from agent.linux.run import Run, run
from agent.waits import Result, Waits
from units.errors import Retryable
from units.host import Probes


class OneTry(Waits):
    """No waiting: what does not answer now is what the doctor is there to tell."""

    def until(
        self,
        name: str,
        attempt: Callable[[], Result],
        *,
        limit: float,
        pause: float = 0.2,
        longest: float = 5.0,
        on: type[Retryable] = Retryable,
    ) -> Result:
        del name, limit, pause, longest, on
        return attempt()


def _now() -> datetime:
    return datetime.now(UTC)


def resolve(host: str) -> tuple[str, ...]:
    """The addresses of a name, without doubles. OSError if it has none."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


@dataclass(frozen=True, slots=True)
class Patient:
    root: Path = Path("/")
    imds_url: str = BASE_URL
    run: Run = run
    probes: Probes = field(default_factory=LoopbackProbes)
    now: Callable[[], datetime] = _now
    synchronised: Callable[[], bool] = time_synchronised
    resolve: Callable[[str], tuple[str, ...]] = resolve
    listeners: Callable[[], tuple[Listener, ...]] = listeners

    def path(self, absolute: str | Path) -> Path:
        return self.root / str(absolute).lstrip("/")

    def imds(self) -> Imds:
        """A new client each time: they are for one thread."""
        return Imds(self.imds_url, waits=OneTry())
