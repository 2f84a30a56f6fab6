"""What the agent keeps under /run between its runs: one lock, and the status of the last one.

No pydantic and no adapters here: the poll of every minute reads the status, and needs five fields of it.
"""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from agent.waits import Waits
from units.errors import Retryable
from units.paths import RUN

if TYPE_CHECKING:
    from units.status import NodeStatus

STATUS = Path(RUN) / "status.json"
LOCK = Path(RUN) / "lock"


@dataclass(frozen=True, slots=True)
class LastRun:
    """The part of `units.status.NodeStatus` that decides whether there is work to do. Times are RFC 3339 text."""

    stage: str
    role: str
    private_ip: str
    converged: str
    renewals: tuple[tuple[str, str], ...]  # path of a certificate, when it renews
    candidate_waits: bool = False

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        return cls(
            stage=document["stage"],
            role=document["role"],
            private_ip=document["private_ip"],
            converged=document["converged"],
            candidate_waits=document["candidate_waits"],
            renewals=tuple((one["path"], one["renews"]) for one in document["certificates"]),
        )


def read_last_run(path: Path = STATUS) -> LastRun:
    """Retryable `not-booted` before the first boot; Invalid for a status that is none."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise Retryable("not-booted", "`agent boot` has not run since this machine started") from None
    try:
        return LastRun.of(json.loads(data))
    except (ValueError, KeyError, TypeError):
        from units.status import decode_status  # fills in what an older agent left out, or says what is wrong

        return LastRun.of(decode_status(data).model_dump())


def write_status(status: "NodeStatus", path: Path = STATUS) -> None:
    from units.status import encode_status

    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    # /run is memory: a rename is enough for whoever reads, and nobody reads it after a power cut.
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(encode_status(status))
    temporary.replace(path)


@contextmanager
def running_alone(command: str, lock: Path = LOCK) -> Iterator[None]:
    """One agent at a time may look or work: boot, sync and diff wait for each other, at most two minutes."""
    lock.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with lock.open("a") as file:
        waits = Waits()

        def take() -> None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Retryable(
                    "agent-busy",
                    f"`agent {command}` waits for another agent on this machine",
                    remedy="`agent status` shows what it is doing",
                ) from error

        waits.until("the agent's lock", take, limit=120.0, longest=2.0)
        yield
