"""sd_notify against a real datagram socket, as systemd listens on."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.linux.notify import Notifier


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def test_systemd_hears_states_and_status_lines(listening: socket.socket) -> None:
    notifier = Notifier()
    notifier.status("12/40 file:/etc/hosts")
    assert listening.recv(4096) == b"STATUS=12/40 file:/etc/hosts"
    notifier.ready()
    assert listening.recv(4096) == b"READY=1"
    notifier.ready("serial 7")
    assert listening.recv(4096) == b"READY=1\nSTATUS=serial 7"
    notifier.extend_timeout(90)
    assert listening.recv(4096) == b"EXTEND_TIMEOUT_USEC=90000000"
    notifier.stopping()
    assert listening.recv(4096) == b"STOPPING=1"


def test_a_message_from_outside_cannot_smuggle_in_a_field(listening: socket.socket) -> None:
    Notifier().status("failed:\nREADY=1\r\nMAINPID=1\0x\u2028\udcff end")
    assert listening.recv(4096) == b"STATUS=failed: READY=1 MAINPID=1 x end"


def test_a_long_status_is_cut(listening: socket.socket) -> None:
    Notifier().status("x" * 100_000)
    assert listening.recv(4096) == b"STATUS=" + b"x" * 200


def test_where_nobody_listens_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().status("hello")
    monkeypatch.setenv("NOTIFY_SOCKET", "/no/such/socket")
    Notifier().ready()
