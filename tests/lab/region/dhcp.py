"""DHCP as a VPC has it (RFC 2131): an interface's hardware address decides its address, and every lease is the same.

cloud-init's EC2 data source asks for a lease before it asks IMDS, whatever else has set the address already.
"""

import logging
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network

LOG = logging.getLogger(__name__)
MAGIC = b"\x63\x82\x53\x63"
HEADER = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
DISCOVER, OFFER, REQUEST, ACK, NAK = 1, 2, 3, 5, 6
LEASE_SECONDS = 3600
# Option numbers of RFC 2132.
NETMASK, ROUTER, HOST_NAME, REQUESTED, LEASE, KIND, SERVER, END = 1, 3, 12, 50, 51, 53, 54, 255


@dataclass(frozen=True, slots=True)
class Lease:
    address: str
    hostname: str


@dataclass(frozen=True, slots=True)
class Question:
    """What matters of a client's message."""

    kind: int
    transaction: int
    mac: bytes
    requested: str
    flags: int


def parse(packet: bytes) -> Question | None:
    """None for anything that is not a client's DHCP message over Ethernet."""
    if len(packet) < HEADER.size:
        return None
    fields = HEADER.unpack_from(packet)
    if (fields[0], fields[1], fields[2]) != (1, 1, 6) or fields[14] != MAGIC:
        return None
    options = _options(packet[HEADER.size :])
    kind = options.get(KIND, b"")
    if len(kind) != 1:
        return None
    wanted = options.get(REQUESTED, fields[7])
    requested = socket.inet_ntoa(wanted) if len(wanted) == 4 else ""
    return Question(kind[0], fields[4], fields[11][:6], requested, fields[6])


def answer(question: Question, lease: Lease, network: str, router: str) -> bytes | None:
    """The server's message, or None when there is nothing to say."""
    kind = {DISCOVER: OFFER, REQUEST: ACK}.get(question.kind)
    if kind is None:
        return None
    if kind == ACK and question.requested not in (lease.address, "0.0.0.0"):
        kind = NAK
    given = "0.0.0.0" if kind == NAK else lease.address
    options = [(KIND, bytes([kind])), (SERVER, socket.inet_aton(router))]
    if kind != NAK:
        options += [
            (NETMASK, IPv4Network(network).netmask.packed),
            (ROUTER, socket.inet_aton(router)),
            (LEASE, struct.pack("!I", LEASE_SECONDS)),
            (HOST_NAME, lease.hostname.partition(".")[0].encode()),
        ]
    zero = bytes(4)
    header = HEADER.pack(
        2, 1, 6, 0, question.transaction, 0, question.flags, zero, socket.inet_aton(given), zero, zero,
        question.mac.ljust(16, b"\0"), bytes(64), bytes(128), MAGIC,
    )  # fmt: skip
    return header + b"".join(bytes([number, len(value)]) + value for number, value in options) + bytes([END])


def _options(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + 1 < len(data) and data[at] != END:
        if data[at] == 0:
            at += 1
            continue
        length = data[at + 1]
        found[data[at]] = data[at + 2 : at + 2 + length]
        at += 2 + length
    return found


class DhcpServer:
    """Answers on one interface only; `find` gives the lease of a hardware address such as "02:00:00:12:34:56"."""

    def __init__(self, interface: str, network: str, router: str, find: Callable[[str], Lease | None]) -> None:
        self._network, self._router, self._find = network, router, find
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._socket.bind(("0.0.0.0", 67))
        self._ended = threading.Event()
        self._idle = threading.Event()
        self._idle.set()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        self._idle.clear()
        self._socket.settimeout(poll_interval)
        while not self._ended.is_set():
            try:
                packet = self._socket.recv(4096)
            except TimeoutError:
                continue
            self._serve(packet)
        self._idle.set()

    def _serve(self, packet: bytes) -> None:
        question = parse(packet)
        lease = self._find(question.mac.hex(":")) if question else None
        reply = answer(question, lease, self._network, self._router) if question and lease else None
        if reply and lease:
            LOG.info("lease of %s", lease.address)
            # The client has no address yet, so it can only be shouted at.
            self._socket.sendto(reply, ("255.255.255.255", 68))

    def shutdown(self) -> None:
        """Returns when the serving thread has left the socket alone."""
        self._ended.set()
        self._idle.wait()

    def server_close(self) -> None:
        self._socket.close()
