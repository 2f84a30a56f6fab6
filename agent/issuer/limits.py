"""How much of the issuer one stranger can hold, in seconds, bytes and connections (N1, N19)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    handshake: float = 5.0
    connection: float = 20.0  # from accept to close
    idle: float = 60.0  # then the process ends; the socket stays with systemd
    head: int = 16 * 1024
    body: int = 64 * 1024
    connections: int = 512  # beyond, the kernel's backlog waits
    connections_per_source: int = 256  # a balancer may stand in front: its address is everybody's
    waiting: int = 256  # requests that no thread works on yet; beyond: 503
    threads: int = 16
    source_rate: float = 50.0  # requests a second and address
    source_burst: float = 300.0
    instance_rate: float = 0.1
    instance_burst: float = 6.0
