"""HTTP for the agent's calls to AWS: no environment, no redirects, and one deadline over a whole exchange.

http.client, not requests: importing requests costs 65 ms of CPU more, and a no-change poll every minute has 150
(measured, docs/benchmarks.md). What is needed of requests is little: neither follows a redirect, a proxy of the
environment or a netrc here. Timeouts of sockets are per read, so that a server that drips one byte a second would hold
the agent for ever (trust.md 1.2, row "slow drip"): a watchdog ends the connection when the time is over.
"""

import contextlib
import http.client
import socket
import ssl
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Protocol
from urllib.parse import urlsplit

from agent.aws.deadlines import Deadline

CHUNK = 64 * 1024
_FAILURES = (OSError, http.client.HTTPException, ValueError)


class Broken(Exception):
    """The connection failed, ended early, or took longer than allowed; `str` says how."""


class TooLarge(Exception):
    """More bytes than allowed; the caller knows whether that is an attack or a mistake."""


class Rewindable(Protocol):
    """A body that is not held in memory: a binary file, or a part of one."""

    def read(self, size: int = -1, /) -> bytes: ...

    def seek(self, offset: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds. `total` covers the exchange from connect to the last byte."""

    connect: float = 3.05
    read: float = 10.0
    total: float = 30.0


class Response:
    """Status, headers by lower-case name, and a body not read yet. Reading raises Broken or TooLarge."""

    def __init__(self, response: http.client.HTTPResponse, watchdog: "_Watchdog") -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.complete = False
        self._response = response
        self._watchdog = watchdog
        # http.client forgets the length of what read1 leaves unread, and would take a body cut short for a whole one.
        self._left = None if response.chunked else response.length

    @property
    def date(self) -> datetime | None:
        """The sender's clock in whole seconds (RFC 9110, 6.6.1); None if it does not tell, or tells nonsense."""
        try:
            told = parsedate_to_datetime(self.headers.get("date", ""))
        except ValueError:
            return None
        return told if told.tzinfo else None

    def body(self, *, limit: int) -> bytes:
        return b"".join(self.chunks(limit=limit))

    def chunks(self, *, limit: int) -> Iterator[bytes]:
        """As they come over the wire: a compressed answer is not asked for, and never unpacked."""
        size = 0
        while chunk := self._read():
            size += len(chunk)
            if size > limit:
                raise TooLarge(f"more than {limit} bytes")
            yield chunk
        self.complete = True

    def _read(self) -> bytes:
        if self._left == 0:
            return b""
        try:
            # read1 returns what is there; read would sit out a drip until its whole amount has come
            chunk = self._response.read1(CHUNK if self._left is None else min(CHUNK, self._left))
        except _FAILURES as error:
            raise self._watchdog.explain(error) from error
        if self._watchdog.expired:  # without a length, a cut connection looks like the end of the body
            raise self._watchdog.explain(None)
        if self._left is not None:
            if not chunk:
                raise Broken(f"the answer ended {self._left} bytes early")
            self._left -= len(chunk)
        return chunk


class Http:
    """Keep-alive connections, one per server, for one thread. `tls`: instead of the machine's own authorities."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._given_tls = tls
        self._connections: dict[str, http.client.HTTPConnection] = {}
        weakref.finalize(self, _close_all, self._connections)

    @contextmanager
    def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        body: bytes | Rewindable | None = None,
    ) -> Iterator[Response]:
        """Send, and hand out the response while it may be read. Raises Broken.

        A file is sent from its beginning; `headers` then say its Content-Length.
        """
        parts = urlsplit(url)
        server, path = f"{parts.scheme}://{parts.netloc}", parts.path or "/"
        target = f"{path}?{parts.query}" if parts.query else path
        connection = self._connections.get(server)
        known = connection is not None and connection.sock is not None
        if connection is None:
            connection = self._connections[server] = self._connect_later(parts.scheme, parts.netloc)
        with _Watchdog(timeouts.total, connection) as watchdog:
            try:
                try:
                    answer = _ask(connection, method, target, headers, body, timeouts)
                except (ConnectionError, http.client.RemoteDisconnected):
                    if not known or watchdog.expired:
                        raise
                    connection.close()  # the server closed the idle connection meanwhile (RFC 9110 9.2.2)
                    answer = _ask(connection, method, target, headers, body, timeouts)
            except _FAILURES as error:
                connection.close()
                raise watchdog.explain(error) from error
            response = Response(answer, watchdog)
            try:
                yield response
            finally:
                answer.close()
                if not response.complete:
                    connection.close()

    def close(self) -> None:
        _close_all(self._connections)

    def _connect_later(self, scheme: str, netloc: str) -> http.client.HTTPConnection:
        if scheme == "http":
            return http.client.HTTPConnection(netloc)
        return http.client.HTTPSConnection(netloc, context=self._given_tls or _tls(ssl.get_default_verify_paths()))


@cache
def _tls(authorities: ssl.DefaultVerifyPaths) -> ssl.SSLContext:
    """One for all clients: reading the machine's 140 authorities takes 20 ms of CPU. `authorities`: where they lie."""
    del authorities  # the key of the cache; OpenSSL looks there by itself
    return ssl.create_default_context()


def _close_all(connections: Mapping[str, http.client.HTTPConnection]) -> None:
    for connection in connections.values():
        connection.close()


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | Rewindable | None,
    timeouts: Timeouts,
) -> http.client.HTTPResponse:
    if connection.sock is None:
        connection.timeout = timeouts.connect
        connection.connect()
    connection.sock.settimeout(timeouts.read)
    if body is not None and not isinstance(body, bytes):
        body.seek(0)
    connection.request(method, target, body=body, headers={"User-Agent": "bootwright-agent", **headers})
    return connection.getresponse()


class _Watchdog(Deadline):
    """Shuts the connection's socket down when the time is over; whoever reads from it then gets an error."""

    __slots__ = ("_connection",)

    def __init__(self, seconds: float, connection: http.client.HTTPConnection) -> None:
        super().__init__(seconds, self._shut_down)
        self._connection = connection

    def explain(self, error: Exception | None) -> Broken:
        if self.expired:
            return Broken(f"no complete answer within {self.seconds:.0f} s")
        if isinstance(error, OSError) and error.strerror:
            return Broken(error.strerror)
        return Broken(f"{type(error).__name__}: {str(error)[:200]}")

    def _shut_down(self) -> None:
        found = self._connection.sock
        if found is not None:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown, which would pull the TLS object away under the reading thread.
                socket.socket.shutdown(found, socket.SHUT_RDWR)
