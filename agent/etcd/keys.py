"""Keys, leases, the lock and snapshots, with the etcd3 library: what it does well (ADR 0009). Nothing else imports it.

It knows one endpoint and drops the server's words, so the endpoint is chosen here, and its exceptions are translated.
"""

import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self
from urllib.parse import urlsplit

from units.errors import Retryable

if TYPE_CHECKING:
    from agent.etcd.admin import EtcdClients

# etcd3's generated code cannot be loaded by protobuf 4 otherwise; before anything imports protobuf (DESIGN section 3).
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

LOG = logging.getLogger("bootwright.etcd")
LOCKS = "/bootwright/locks/"
LEASE_SECONDS = 60  # how long a lock outlives a holder that lost its power
_CALL_SECONDS = 8.0
_SLOWEST_SNAPSHOT = 5_000_000  # bytes per second


class Keys:
    """A connection to the first endpoint that serves keys. Retryable errors only."""

    def __init__(self, clients: "EtcdClients", *, holder: str = "") -> None:
        self._clients = clients
        self._holder = holder or _hostname()
        self._client: Any = None

    def __enter__(self) -> Self:
        tried = []
        for url in self._clients.urls:
            client = _connect(self._clients, url, _CALL_SECONDS)
            try:
                # A read that the whole cluster stands behind: a member without quorum is passed over.
                client.get("/bootwright/cluster")
            except _failures() as error:
                client.close()
                tried.append(f"{url}: {_said(error)}")
                continue
            self._client = client
            return self
        raise Retryable("etcd-unreachable", f"no member of etcd serves keys: {'; '.join(tried)}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, key: str) -> bytes | None:
        with _translated(f"get {key}"):
            value, _metadata = self._client.get(key)
        return None if value is None else bytes(value)

    def replace(self, key: str, before: bytes | None, value: bytes) -> bool:
        """Only over `before` (None: only where nothing is). False if something else is there."""
        made = self._client.transactions
        unchanged = made.create(key) == 0 if before is None else made.value(key) == before
        with _translated(f"replace {key}"):
            done, _responses = self._client.transaction([unchanged], [made.put(key, value)], [])
        return bool(done)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Retryable `etcd-locked`, with the holder's name, if somebody has it; kept alive by a thread meanwhile."""
        key = f"{LOCKS}{name}"
        with _translated(f"lock {name}"):
            lease = self._client.lease(LEASE_SECONDS)
        made = self._client.transactions
        try:
            with _translated(f"lock {name}"):
                done, responses = self._client.transaction(
                    [made.create(key) == 0], [made.put(key, self._holder, lease)], [made.get(key)]
                )
            if not done:
                found = responses[0]
                holder = found[0][0].decode(errors="replace")[:100] if found else "somebody"
                raise Retryable(
                    "etcd-locked",
                    f"{name} in etcd is in the hands of {holder}",
                    remedy=f"it ends by itself, at most {LEASE_SECONDS} s after its holder does",
                    after=15,
                )
            with _kept_alive(lease, name):
                yield
        finally:
            # Not revoked, it ends by itself: an etcd that is gone must not hide what happened in the block.
            with suppress(Retryable), _translated(f"unlock {name}"):
                lease.revoke()


def read_snapshot(clients: "EtcdClients", file: BinaryIO, *, expected_bytes: int) -> int:
    """The database with its sha256 trailer, unchecked, from the first member that gives it, quorum or not; its size.

    Twice as fast as over the gateway, whose JSON etcd itself has to make (2.1 s and 4.3 s for 114 MB, ADR 0009).
    """
    tried = []
    for url in clients.urls:
        file.seek(0)
        file.truncate()
        client = _connect(clients, url, 60 + expected_bytes / _SLOWEST_SNAPSHOT)
        try:
            client.snapshot(file)
        except _failures() as error:
            tried.append(f"{url}: {_said(error)}")
            continue
        finally:
            client.close()
        return file.tell()
    raise Retryable(
        "etcd-unreachable",
        f"no member of etcd gives a snapshot: {'; '.join(tried) or 'there is no endpoint to ask'}",
        remedy="`agent etcd status`",
    )


def _connect(clients: "EtcdClients", url: str, seconds: float) -> Any:
    """Makes no call by itself; `seconds` is for each call, to its last byte."""
    parts = urlsplit(url)
    return _library().client(
        host=parts.hostname,
        port=parts.port,
        ca_cert=clients.authorities,
        cert_cert=clients.credential,
        cert_key=clients.credential,
        timeout=seconds,
        # A proxy in the environment must not answer for etcd.
        grpc_options=(("grpc.enable_http_proxy", 0),),
    )


@contextmanager
def _kept_alive(lease: Any, name: str) -> Iterator[None]:
    over = threading.Event()

    def keep() -> None:
        while not over.wait(LEASE_SECONDS / 4):
            try:
                with _translated(f"keep {name}"):
                    lease.refresh()
            except Retryable as error:
                LOG.warning("%s", error, extra={"code": error.code})

    thread = threading.Thread(target=keep, name=f"lease of {name}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _translated(action: str) -> Iterator[None]:
    try:
        yield
    except _failures() as error:
        raise Retryable("etcd-unreachable", f"etcd, {action}: {_said(error)}") from error


def _failures() -> tuple[type[Exception], ...]:
    import grpc

    return _library().Etcd3Exception, grpc.RpcError, OSError


def _library() -> Any:
    with warnings.catch_warnings():
        # Its generated code is of 2020; protobuf says so a hundred times.
        warnings.simplefilter("ignore", DeprecationWarning)
        import etcd3
    return etcd3


def _said(error: Exception) -> str:
    cause = error.__context__ if not str(error) else error  # etcd3 raises anew, without the words
    details = getattr(cause, "details", None)
    return f"{type(error).__name__} {details() if callable(details) else cause or ''}".strip()


def _hostname() -> str:
    import socket

    return socket.gethostname()
