"""One HTTP request off a connection, no byte more than allowed. h11 knows the grammar; it does no I/O."""

import asyncio
from dataclasses import dataclass, field
from email.utils import formatdate

import h11

from agent.issuer.answers import Answer
from agent.issuer.limits import Limits
from agent.issuer.wire import PATH

_CHUNK = 16 * 1024


class Unacceptable(Exception):
    """No request that an issuer has an answer to; the text is for the journal."""


@dataclass(frozen=True, slots=True)
class Request:
    authorizations: tuple[str, ...] = field(repr=False)
    body: bytes


class Exchange:
    """One request, one answer; then the connection closes."""

    def __init__(self, reader: asyncio.StreamReader, limits: Limits) -> None:
        self._reader = reader
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head)

    async def request(self) -> Request:
        """Raises Unacceptable, as soon as it is clear; no more is read then."""
        try:
            head = await self._next()
            if not isinstance(head, h11.Request):
                raise Unacceptable("no request")
            if (head.method, head.target, head.http_version) != (b"POST", PATH.encode(), b"1.1"):
                raise Unacceptable("another method, path or version")
            if sum(len(name) + len(value) for name, value in head.headers) > self._limits.head:
                raise Unacceptable(f"a head of more than {self._limits.head} bytes")  # h11 counts in whole reads
            if any(name == b"transfer-encoding" for name, _ in head.headers):
                raise Unacceptable("a body whose length is not said first")
            body = bytearray()
            while not isinstance(event := await self._next(), h11.EndOfMessage):
                if not isinstance(event, h11.Data):
                    raise Unacceptable("the connection ended early")
                body += event.data
                if len(body) > self._limits.body:
                    raise Unacceptable(f"a body of more than {self._limits.body} bytes")
            found = [value for name, value in head.headers if name == b"authorization"]
            return Request(tuple(value.decode("ascii") for value in found), bytes(body))
        except (h11.RemoteProtocolError, UnicodeDecodeError) as error:
            raise Unacceptable(f"{error}"[:200]) from error

    def response(self, answer: Answer) -> bytes:
        """All bytes of the answer."""
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(answer.body))),
            ("Connection", "close"),
        ]
        if answer.retry_after is not None:
            headers.append(("Retry-After", str(answer.retry_after)))
        # Of its own: after a request that was no HTTP, the reading machine has no way to an answer.
        http = h11.Connection(h11.SERVER)
        http.receive_data(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
        http.next_event()
        parts = [
            http.send(h11.Response(status_code=answer.status, headers=headers)),
            http.send(h11.Data(answer.body)),
            http.send(h11.EndOfMessage()),
        ]
        return b"".join(part or b"" for part in parts)

    async def _next(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Event):
                return event
            if event is h11.PAUSED:
                raise Unacceptable("more than one request")
            self._http.receive_data(await self._reader.read(_CHUNK))
