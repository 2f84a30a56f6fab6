"""HTTP for the agent: no environment, no redirects, and one deadline over a whole exchange.

requests' timeouts are per read: a server that drips one byte a second would hold the agent for ever (trust.md 1.2, row
"slow drip"). Here a body is read as it comes, and a watchdog ends the connection when its time is over.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import requests
import urllib3
from requests.adapters import HTTPAdapter

CHUNK = 64 * 1024
_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)


class Broken(Exception):
    """The connection failed, ended early, or took longer than allowed; `str` says how."""


class TooLarge(Exception):
    """More bytes than allowed; the caller knows whether that is an attack or a mistake."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """In seconds. `total` covers the exchange from connect to the last byte."""

    connect: float = 3.05
    read: float = 10.0
    total: float = 30.0


class Response:
    """Status, headers, and a body that has not been read yet. Reading raises Broken or TooLarge."""

    def __init__(self, response: requests.Response, watchdog: "_Watchdog") -> None:
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._raw: Any = response.raw
        self._watchdog = watchdog

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

    def _read(self) -> bytes:
        try:
            # read1 returns what is there; read would sit out a drip until its whole amount has come
            chunk: bytes = self._raw.read1(CHUNK, decode_content=False)
        except _FAILURES as error:
            raise self._watchdog.explain(error) from error
        if self._watchdog.expired:  # without a Content-Length a cut connection looks like the end of the body
            raise self._watchdog.explain(None)
        return chunk


class Http:
    """A keep-alive session for one thread."""

    def __init__(self) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # no proxies, no netrc: netrc would replace our Authorization header
        self._connections: WeakSet[Any] = WeakSet()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _WatchedAdapter(self._connections))

    @contextmanager
    def exchange(
        self, method: str, url: str, *, headers: Mapping[str, str], timeouts: Timeouts, body: bytes | None = None
    ) -> Iterator[Response]:
        """Send, and hand out the response while it may be read. Raises Broken."""
        with _Watchdog(timeouts.total, self._connections) as watchdog:
            try:
                response = self._session.request(
                    method,
                    url,
                    data=body,
                    headers={"Accept-Encoding": "identity", **headers},
                    timeout=(timeouts.connect, timeouts.read),
                    allow_redirects=False,
                    stream=True,
                )
            except _FAILURES as error:
                raise watchdog.explain(error) from error
            with response:
                yield Response(response, watchdog)


class _Watchdog:
    """Shuts the session's sockets down when the time is over; whoever reads from them then gets an error."""

    def __init__(self, seconds: float, connections: "WeakSet[Any]") -> None:
        self.expired = False
        self._seconds = seconds
        self._connections = connections
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    def explain(self, error: Exception | None) -> Broken:
        if self.expired:
            return Broken(f"no complete answer within {self._seconds:.0f} s")
        return Broken(_cause(error))

    def _cut(self) -> None:
        self.expired = True
        for connection in list(self._connections):
            with contextlib.suppress(OSError, TypeError):  # TypeError: closed meanwhile, there is no socket any more
                # Not SSLSocket.shutdown, which would pull the TLS object away under the reading thread.
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)


class _WatchedAdapter(HTTPAdapter):
    """Notes every connection before it connects: closing a session leaves a busy connection open."""

    def __init__(self, connections: "WeakSet[Any]") -> None:
        self._connections = connections
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _watched(urllib3.HTTPConnectionPool, self._connections),
            "https": _watched(urllib3.HTTPSConnectionPool, self._connections),
        }


def _watched(pool_class: Any, connections: "WeakSet[Any]") -> Any:
    class Connection(pool_class.ConnectionCls):  # type: ignore[misc]  # urllib3's documented hook is an attribute
        def connect(self) -> None:
            connections.add(self)
            super().connect()

    class Pool(pool_class):  # type: ignore[misc]  # as above
        ConnectionCls = Connection

    return Pool


def _cause(error: BaseException | None) -> str:
    """The innermost reason, without urllib3's object addresses: 'Connection refused', 'Name does not resolve'."""
    reason = error
    while reason is not None:
        inner = getattr(reason, "reason", None) or reason.__cause__ or reason.__context__
        if not isinstance(inner, BaseException) or inner is reason:
            break
        reason = inner
    if isinstance(reason, OSError) and reason.strerror:
        return str(reason.strerror)
    return f"{type(reason).__name__}: {str(reason)[:200]}"
