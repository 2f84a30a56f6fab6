"""What the issuer hears at an instance's own address, which may be anybody's."""

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterable, Iterator

import pytest

from agent.issuer.callback import ask


@contextlib.contextmanager
def telling(pieces: Iterable[bytes], every: float = 0.0) -> Iterator[int]:
    """A server that sends one piece after the other to who comes first, and its port."""
    over = threading.Event()

    def tell() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):  # the other side has had enough
            for piece in pieces:
                if over.wait(every):
                    return
                connection.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        teller = threading.Thread(target=tell)
        teller.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            teller.join()


def test_a_digest_that_comes_in_two_pieces_is_heard_whole() -> None:
    with telling([b"a" * 30, b"b" * 34]) as port:
        assert ask("127.0.0.1", port) == "a" * 30 + "b" * 34


def test_one_who_says_less_is_heard_to_his_end() -> None:
    with telling([b"short"]) as port:
        assert ask("127.0.0.1", port) == "short"


def test_one_who_sends_a_byte_now_and_then_holds_nobody_for_long() -> None:
    with telling(itertools.repeat(b"a"), every=0.05) as port, pytest.raises(TimeoutError):
        ask("127.0.0.1", port, seconds=0.3)
