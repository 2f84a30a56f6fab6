"""Is it the machine at the instance's own address that asks? (trust.md N21; only where the manifest gives a port)

Credentials that were carried away prove the instance from anywhere. So before the first certificates the issuer asks at
the private address that EC2 reports: the agent there tells the digest of the one request that it is waiting for. In a
VPC nobody answers from another machine's address; a thief's request has another body, and so another digest.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.issuer.checks import Check

_SECONDS = 3.0
_DIGEST_BYTES = 64  # SHA-256 in hex

Ask = Callable[[str, int], str]
"""The digest that (address, port) tells. OSError if nobody does."""


def ask(address: str, port: int, seconds: float = _SECONDS) -> str:
    """At most 64 bytes, and `seconds` for all of it: who drips a byte now and then would hold a worker."""
    until = time.monotonic() + seconds
    with socket.create_connection((address, port), timeout=seconds) as connection:
        found = b""
        while len(found) < _DIGEST_BYTES:
            if (left := until - time.monotonic()) <= 0:
                raise TimeoutError(f"{len(found)} of {_DIGEST_BYTES} bytes in {seconds:g} s")
            connection.settimeout(left)
            if not (more := connection.recv(_DIGEST_BYTES - len(found))):
                break
            found += more
    return found.decode("ascii", errors="replace")


@dataclass(frozen=True, slots=True)
class CallbackCase:
    """`port` 0: the manifest does not want it."""

    instance_id: str
    address: str
    port: int
    body_sha256: str
    ask: Ask = field(default=ask, repr=False)


def _confirmed(case: CallbackCase) -> str:
    if not case.port:
        return ""
    who = f"{case.instance_id} at {case.address}, port {case.port},"
    try:
        found = case.ask(case.address, case.port)
    except OSError as error:
        return f"{who} does not say that it asks: {error.strerror or error}"
    return "" if found == case.body_sha256 else f"{who} asks for something else"


CALLBACK: tuple[Check[CallbackCase], ...] = (Check("N21-callback", "callback-refused", _confirmed),)
