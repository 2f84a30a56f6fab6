"""Who listens on which port of this machine."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listener:
    address: str
    port: int
    program: str  # the process's name; empty if nobody may know
    pid: int = 0

    def __str__(self) -> str:
        return f"{self.program or 'an unknown process'}{f' (pid {self.pid})' if self.pid else ''}"


def listeners() -> tuple[Listener, ...]:
    """Every listening TCP socket of this network namespace."""
    import psutil

    found = []
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr:
            address, port = connection.laddr
            found.append(Listener(str(address), int(port), _name(connection.pid), connection.pid or 0))
    return tuple(found)


def _name(pid: int | None) -> str:
    import psutil

    if not pid:
        return ""
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return ""
