"""The worker's half of the issuer's callback (trust.md N21): it tells which request it is waiting for, and to anybody.

A digest of two public keys' requests is no secret. What counts is from where it is told.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from units.errors import Retryable

_SECONDS = 3.0
_BACKLOG = 16


@contextmanager
def confirming(body_sha256: str, port: int) -> Iterator[None]:
    """While it lasts, whoever connects to the port is told the digest. Nothing listens before and after, or for port 0.

    Retryable `callback-port-taken`.
    """
    if not port:
        yield
        return
    try:
        listener = socket.create_server(("", port), backlog=_BACKLOG)
    except OSError as error:
        raise Retryable(
            "callback-port-taken",
            f"port {port}, where the issuer asks back, cannot be listened on: {error.strerror}",
            remedy=f"ss -ltnp 'sport = :{port}'; or another identity.callbackPort",
        ) from error
    thread = threading.Thread(target=_tell, args=(listener, body_sha256.encode()), name="callback", daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # wakes accept; close alone does not
        thread.join()
        listener.close()


def _tell(listener: socket.socket, digest: bytes) -> None:
    while True:
        try:
            connection, _address = listener.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            connection.settimeout(_SECONDS)
            connection.sendall(digest)
