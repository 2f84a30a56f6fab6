"""An issuer behind a real socket, in a thread of the test."""

import asyncio
import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from agent.issuer.answers import Answer
from agent.issuer.https import client_context, server_context
from agent.issuer.limits import Limits
from agent.issuer.server import Server, Work
from tests.agent.issuer.world import World


@contextmanager
def running(world: World, work: Work | None = None, limits: Limits | None = None) -> Iterator[int]:
    """The port. `work` stands in for the desks."""
    limits = limits or Limits(instance_rate=1e6, instance_burst=1e6)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    tls = server_context(str(world.directory / "server.pem"), world.bundle)
    server = Server([listener], tls, work or world.office(limits=limits).answer, limits)
    started: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]] = []
    up = threading.Event()

    async def main() -> None:
        task = asyncio.ensure_future(server.run())
        started.append((asyncio.get_running_loop(), task))
        up.set()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    up.wait()
    try:
        yield int(listener.getsockname()[1])
    finally:
        loop, task = started[0]
        with contextlib.suppress(RuntimeError):  # it ended by itself
            loop.call_soon_threadsafe(task.cancel)
        thread.join()
        listener.close()


@contextmanager
def connected(world: World, port: int, credential: bytes | None = None) -> Iterator[ssl.SSLSocket]:
    """TLS, and not a byte more."""
    context = client_context(world.bundle, credential)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        yield secured


def exchange(world: World, port: int, request: bytes, credential: bytes | None = None) -> tuple[bytes, bytes]:
    """Head and body of the answer; what was read when the connection broke counts."""
    answer = b""
    with connected(world, port, credential) as connection, contextlib.suppress(ConnectionError, ssl.SSLError):
        connection.sendall(request)
        while not _whole(answer) and (chunk := connection.recv(65536)):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


def _whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    found = re.search(rb"\r\nContent-Length: ([0-9]+)", head)
    return found is not None and len(body) >= int(found[1])


def post(body: bytes, *authorizations: str, path: str = "/v1/node-certificates") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: issuer", f"Content-Length: {len(body)}"]
    lines += [f"Authorization: {value}" for value in authorizations]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


REPLY: Answer = Answer(200, b"{}\n")
