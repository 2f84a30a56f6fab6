"""A machine's management socket (kernel documentation, "UML HowTo"): plug disks, press the power button.

One datagram asks, one or more answer. The kernel answers from an interrupt, even while the guest is busy booting.
"""

import os
import socket
import struct
import time
from pathlib import Path

_MAGIC, _VERSION = 0xCAFEBABE, 2
_REQUEST = struct.Struct("=III512s")
_REPLY = struct.Struct("=III")
_LONGEST = 511


class ConsoleError(RuntimeError):
    """The kernel refused, or did not answer."""


def ask(path: Path, command: str, *, timeout: float = 10) -> str:
    """The kernel's answer to `command`. Raises ConsoleError."""
    if len(command.encode()) > _LONGEST:
        raise ConsoleError(f"{command}: longer than {_LONGEST} bytes")
    deadline = time.monotonic() + timeout
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0bootwright-lab-{os.getpid()}-{id(channel)}")
        try:
            channel.settimeout(timeout)
            channel.connect(str(path))
            channel.send(_REQUEST.pack(_MAGIC, _VERSION, len(command), command.encode()))
            failed, answer = _answers(channel, deadline)
        except OSError as error:
            raise ConsoleError(f"{path} does not answer `{command}`: {error}") from error
    if failed:
        raise ConsoleError(f"{command}: {answer}")
    return answer


def _answers(channel: socket.socket, deadline: float) -> tuple[bool, str]:
    said = b""
    while True:
        channel.settimeout(max(deadline - time.monotonic(), 0.001))
        packet = channel.recv(4096)
        failed, more, length = _REPLY.unpack_from(packet)
        said += packet[_REPLY.size : _REPLY.size + length].rstrip(b"\0")
        if not more:
            return bool(failed), said.decode(errors="replace").strip()
