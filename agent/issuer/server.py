"""The issuer's door: TLS, one request a connection, hard limits; ends when nobody has come for a while."""

import asyncio
import contextlib
import logging
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from agent.issuer import answers, audit
from agent.issuer.answers import Answer, Asked
from agent.issuer.codes import later
from agent.issuer.http_request import Exchange, Unacceptable
from agent.issuer.limits import Limits
from agent.issuer.rates import Rates
from units.errors import Retryable

logger = logging.getLogger("bootwright.issuer")

_HEAR_OUT = 0.5  # seconds

Work = Callable[[Asked], Answer]
"""Called in a thread of the pool; may block, never raises."""


@dataclass
class Server:
    """`run` returns after `limits.idle` seconds without a connection. The sockets stay open: they are systemd's."""

    sockets: Sequence[socket.socket]
    tls: ssl.SSLContext
    work: Work
    limits: Limits
    _sources: Counter[str] = field(default_factory=Counter, init=False)
    _conversations: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _waiting: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(_quiet)
        self._rates = Rates(self.limits.source_rate, self.limits.source_burst)
        self._slots = asyncio.Semaphore(self.limits.connections)
        self._last = loop.time()
        with ThreadPoolExecutor(self.limits.threads, thread_name_prefix="desk") as self._pool:
            doors = [loop.create_task(self._accept(listener)) for listener in self.sockets]
            try:
                await self._until_idle()
            finally:
                for task in (*doors, *self._conversations):
                    task.cancel()
                await asyncio.gather(*doors, *self._conversations, return_exceptions=True)

    async def _until_idle(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._last + self.limits.idle - loop.time()) > 0 or self._conversations:
            if self._conversations:
                await asyncio.wait(self._conversations)
            else:
                await asyncio.sleep(left)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        listener.settimeout(0)
        while True:
            await self._slots.acquire()
            try:
                connection, address = await loop.sock_accept(listener)
            except OSError as error:  # it was gone before we had it, or there are no descriptors left
                self._slots.release()
                logger.debug("accept: %s", error)
                await asyncio.sleep(0.05)
                continue
            task = loop.create_task(self._converse(connection, str(address[0]).removeprefix("::ffff:")))
            self._conversations.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._conversations.discard(task)
        self._slots.release()
        self._last = asyncio.get_running_loop().time()

    async def _converse(self, connection: socket.socket, source: str) -> None:
        self._sources[source] += 1
        writer: asyncio.StreamWriter | None = None
        try:
            if self._sources[source] > self.limits.connections_per_source:
                connection.close()
                return
            # From here on the socket is asyncio's to close: closed by us, its number could be another's meanwhile.
            async with asyncio.timeout(self.limits.connection):
                reader, writer = await self._secure(connection)
                await self._exchange(reader, writer, source)
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            logger.debug("a connection from %s ended: %s", source, error)
        finally:
            if writer is not None:
                writer.transport.abort()
            self._sources[source] -= 1
            if not self._sources[source]:
                del self._sources[source]

    async def _secure(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        connection.settimeout(0)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = asyncio.StreamReader(limit=self.limits.head)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=self.tls,
            ssl_handshake_timeout=self.limits.handshake,
            ssl_shutdown_timeout=1.0,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str) -> None:
        exchange = Exchange(reader, self.limits)
        try:
            request = await exchange.request()
        except Unacceptable as reason:
            logger.warning("refused: %s", reason, extra={"code": "request-malformed", "source": source})
            writer.write(exchange.response(answers.REFUSED))
            await _hear_out(reader)
            return
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        answer = await self._answer(Asked(source, request.authorizations, certificate, request.body))
        writer.write(exchange.response(answer))
        await writer.drain()

    async def _answer(self, asked: Asked) -> Answer:
        if wait := self._rates.take(asked.source):
            return _not_now(asked, later("throttled", f"{asked.source} asks too often", after=wait))
        with self._lock:
            busy = self._waiting >= self.limits.waiting + self.limits.threads
            self._waiting += not busy
        if busy:
            return _not_now(asked, later("issuer-busy", "too many requests wait", after=2))
        future = self._pool.submit(self.work, asked)
        future.add_done_callback(self._worked)
        return await asyncio.wrap_future(future)

    def _worked(self, _: "Future[Answer]") -> None:
        with self._lock:
            self._waiting -= 1


def _not_now(asked: Asked, trouble: Retryable) -> Answer:
    audit.refused(asked.source, trouble, proven="")
    return answers.not_now(trouble)


async def _hear_out(reader: asyncio.StreamReader) -> None:
    """Who is still sending when the connection closes loses the answer (RFC 9112 9.6): a moment, not for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_HEAR_OUT):
            while await reader.read(64 * 1024):
                pass


def _quiet(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Strangers' broken TLS is no news; anything else is."""
    if not isinstance(context.get("exception"), OSError):
        logger.warning("%s: %r", context.get("message"), context.get("exception"))
