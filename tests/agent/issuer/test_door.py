"""The door: TLS, sizes, times and numbers of connections (N1), before any request is looked at."""

import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from agent.issuer.answers import REFUSED
from agent.issuer.https import client_context
from agent.issuer.limits import Limits
from pki.authority import Authority
from tests.agent.issuer.certificates import node_certificate
from tests.agent.issuer.drafts import honest
from tests.agent.issuer.running import REPLY, connected, exchange, post, running
from tests.agent.issuer.world import World

LONG = 60.0


class DeskDouble:
    """Counts, and answers everybody."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def __call__(self, asked: object):
        self.asked.append(asked)
        return REPLY


@pytest.fixture
def desk() -> DeskDouble:
    return DeskDouble()


def refused(answer: tuple[bytes, bytes]) -> bool:
    """With the one answer; or without any, when the connection broke over what was still being sent."""
    head, body = answer
    return head.startswith(b"HTTP/1.1 403") and body == REFUSED.body


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b"{}", path="/"),
        post(b"{}", path="/v1/node-certificates?x=1"),
        post(b"{}").replace(b"POST", b"GET"),
        post(b"{}").replace(b"HTTP/1.1", b"HTTP/9.9"),
        post(b"{}").replace(b"Host: issuer\r\n", b""),
        post(b"{}").replace(b"Content-Length: 2", b"Content-Length: 2\r\nContent-Length: 3"),
        post(b"{}").replace(b"Content-Length: 2", b"Content-Length: 2\r\nTransfer-Encoding: chunked"),
        post(b"{}", "x" * 17_000),
        post(b"{}", "NodeSTS1 \xff"),
        post(b"x" * 65_537),
        post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        + b"".join(b"4000\r\n" + b"x" * 0x4000 + b"\r\n" for _ in range(5)),
        b"\x16\x03\x01 no http at all\r\n\r\n",
    ],
    ids=lambda value: value[:24].decode("latin-1"),
)
def test_what_is_no_request_of_ours_gets_the_one_refusal_and_reaches_no_desk(world, desk, request_bytes) -> None:
    with running(world, desk) as port:
        assert refused(exchange(world, port, request_bytes))
    assert desk.asked == []


def test_a_request_of_ours_reaches_a_desk_with_its_source(world, desk) -> None:
    with running(world, desk) as port:
        head, body = exchange(world, port, post(b"{}", "NodeSTS1 e30"))
    assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 200 ", REPLY.body)
    (asked,) = desk.asked
    assert (asked.source, asked.authorizations, asked.body) == ("127.0.0.1", ("NodeSTS1 e30",), b"{}")
    assert asked.certificate is None


def test_a_connection_is_good_for_one_request(world, desk) -> None:
    with running(world, desk) as port:
        head, _ = exchange(world, port, post(b"{}") * 2)
    assert b"connection: close" in head.lower()
    assert len(desk.asked) == 1


def ends_within(connection: socket.socket, seconds: float) -> bool:
    """Whether the other end hangs up. A test that waits for it waits `seconds` only if it does not."""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_who_never_begins_tls_is_hung_up_on(world, desk) -> None:
    with running(world, desk, Limits(handshake=0.2)) as port, socket.create_connection(("127.0.0.1", port)) as silent:
        assert ends_within(silent, 5)


def test_who_drips_a_body_is_hung_up_on(world, desk) -> None:
    request = post(b"{}" * 100)[:-150]
    with running(world, desk, Limits(connection=0.3)) as port, connected(world, port) as slow:
        slow.sendall(request)
        done = threading.Event()

        def drip() -> None:
            while not done.wait(0.02):
                try:
                    slow.sendall(b"x")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        ended = ends_within(slow, 2)  # a drip every 20 ms: 150 bytes take 3 s
        done.set()
        dripping.join()
    assert ended
    assert desk.asked == []


@pytest.mark.slow
def test_without_those_limits_both_would_go_on(world, desk) -> None:
    """The mutation of the two tests above."""
    limits = Limits(handshake=LONG, connection=LONG)
    with running(world, desk, limits) as port, socket.create_connection(("127.0.0.1", port)) as silent:
        assert not ends_within(silent, 1)
    with running(world, desk, limits) as port, connected(world, port) as slow:
        slow.sendall(post(b"{}" * 100)[:-150])
        assert not ends_within(slow, 1)


def test_one_source_holds_only_so_many_connections(world, desk) -> None:
    with (
        running(world, desk, Limits(connections_per_source=2)) as port,
        connected(world, port),
        connected(world, port),
        socket.create_connection(("127.0.0.1", port)) as third,
    ):
        assert ends_within(third, 5)


def test_connections_over_the_limit_wait_until_one_ends(world, desk) -> None:
    with running(world, desk, Limits(connections=1)) as port:
        with connected(world, port):
            waiting = socket.create_connection(("127.0.0.1", port))
        with client_context(world.bundle).wrap_socket(waiting, server_hostname="127.0.0.1") as connection:
            connection.sendall(post(b"{}"))
            assert connection.recv(12) == b"HTTP/1.1 200"


def test_when_too_many_wait_for_a_desk_the_next_is_told_to_come_again(world) -> None:
    begun, finish = threading.Semaphore(0), threading.Event()

    def slow(_asked: object):
        begun.release()
        finish.wait(10)
        return REPLY

    answers: list[bytes] = []
    with running(world, slow, Limits(threads=1, waiting=1)) as port:
        threads = [
            threading.Thread(target=lambda: answers.append(exchange(world, port, post(b"{}"))[0])) for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        begun.acquire()
        for _ in range(500):  # one is at work, one waits, the third hears no
            if answers:
                break
            time.sleep(0.01)
        finish.set()
        for thread in threads:
            thread.join()
    busy = [head for head in answers if head.startswith(b"HTTP/1.1 503")]
    assert len(busy) == 1
    assert b"retry-after: 2" in busy[0].lower()


def test_the_issuer_ends_by_itself_when_nobody_comes(world, desk) -> None:
    with running(world, desk, Limits(idle=0.2)) as port:
        assert exchange(world, port, post(b"{}"))[0]
        for _ in range(500):
            if not any(thread.name.startswith("desk") for thread in threading.enumerate()):
                break
            time.sleep(0.01)
        assert not any(thread.name.startswith("desk") for thread in threading.enumerate())


def test_tls_1_1_is_refused(world, desk) -> None:
    context = client_context(world.bundle)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        running(world, desk) as port,
        socket.create_connection(("127.0.0.1", port)) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def certified(world: World, desk: DeskDouble, credential: bytes) -> bool:
    with running(world, desk) as port:
        try:
            head, _ = exchange(world, port, post(b"{}"), credential)
        except (ssl.SSLError, ConnectionError):
            return False
    return head.startswith(b"HTTP/1.1 200") and desk.asked[0].certificate is not None


def test_a_nodes_own_certificate_is_a_proof(world, desk) -> None:
    assert certified(world, desk, node_certificate(world.authority))


@pytest.mark.parametrize(
    "credential",
    [
        lambda world: node_certificate(Authority.create("kubernetes", datetime.now(UTC))),
        lambda world: node_certificate(world.authority, ends=timedelta(hours=-1)),
        lambda world: node_certificate(world.authority, client=False),
    ],
    ids=["of another authority", "expired", "for a server only"],
)
def test_a_certificate_that_proves_nothing_ends_the_handshake(world, desk, credential) -> None:
    assert not certified(world, desk, credential(world))
    assert desk.asked == []


def test_a_whole_office_behind_the_door_issues(world) -> None:
    asked = honest(world).asked()
    with running(world) as port:
        head, body = exchange(world, port, post(asked.body, *asked.authorizations))
    assert head.startswith(b"HTTP/1.1 200")
    assert b"BEGIN CERTIFICATE" in body
