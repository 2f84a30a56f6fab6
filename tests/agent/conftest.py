"""Servers for the agent's adapters: moto where it tells the truth, and a scripted one for everything hostile."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from moto.server import ThreadedMotoServer

from agent.waits import Waits


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what many tests are about."""


class ScriptedServerDouble:
    """Answers from a function of (method, path, headers, body); a `raw` handler writes to the socket itself."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.respond: Callable[[str, str, dict[str, str], bytes], Answer] = lambda *_: Answer(404)
        self.raw: Callable[[BaseHTTPRequestHandler], None] | None = None
        self._server = QuietServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def script(self, *answers: Answer) -> None:
        """One answer after the other; the last one for ever."""
        left = list(answers)
        self.respond = lambda *_: left.pop(0) if len(left) > 1 else left[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are two writes: 40 ms of delayed ACK else

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                server.requests.append((self.command, self.path, headers, body))
                if server.raw is not None:
                    self.close_connection = True
                    server.raw(self)
                    return
                answer = server.respond(self.command, self.path, headers, body)
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.status != 304:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_PUT = do_POST = _serve  # noqa: N815  http.server's names

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class ClockDouble:
    """Monotonic time that only `sleep` moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


@pytest.fixture
def server() -> Iterator[ScriptedServerDouble]:
    double = ScriptedServerDouble()
    yield double
    double.close()


@pytest.fixture
def answer() -> type[Answer]:
    return Answer


@pytest.fixture
def clock() -> ClockDouble:
    return ClockDouble()


@pytest.fixture
def said() -> list[str]:
    """Every wait that was announced."""
    return []


@pytest.fixture
def waits(clock: ClockDouble, said: list[str]) -> Waits:
    """Waits that take no time."""
    return Waits(progress=said.append, monotonic=clock.monotonic, sleep=clock.sleep)


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
