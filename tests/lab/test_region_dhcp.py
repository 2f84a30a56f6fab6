"""Leases as a VPC gives them (RFC 2131): decided by the hardware address, refused for any other."""

import struct

from tests.lab.region import dhcp
from tests.lab.region.dhcp import ACK, DISCOVER, NAK, OFFER, REQUEST, Lease

LEASE = Lease("10.99.1.4", "ip-10-99-1-4.eu-west-1.compute.internal")
MAC = bytes.fromhex("020000112233")


def message(kind: int, requested: str = "", flags: int = 0x8000) -> bytes:
    """A client's broadcast, as dhcpcd sends it."""
    options = bytes([dhcp.KIND, 1, kind])
    if requested:
        options += bytes([dhcp.REQUESTED, 4, *map(int, requested.split("."))])
    empty = bytes(4)
    return (
        dhcp.HEADER.pack(
            1, 1, 6, 0, 0xCAFE, 0, flags, empty, empty, empty, empty, MAC + bytes(10), bytes(64), bytes(128), dhcp.MAGIC
        )
        + b"\0\0"  # padding between options is allowed
        + options
        + bytes([dhcp.END])
    )


def answered(packet: bytes) -> tuple[int, str, dict[int, bytes], int]:
    """(kind, address, options, transaction) of the server's answer."""
    question = dhcp.parse(packet)
    assert question is not None
    assert question.mac == MAC
    reply = dhcp.answer(question, LEASE, "10.99.0.0/20", "10.99.0.1")
    assert reply is not None
    fields = dhcp.HEADER.unpack_from(reply)
    options = dhcp._options(reply[dhcp.HEADER.size :])
    return options[dhcp.KIND][0], ".".join(map(str, fields[8])), options, fields[4]


def test_a_discover_is_offered_the_instances_address() -> None:
    kind, address, options, transaction = answered(message(DISCOVER))
    assert (kind, address, transaction) == (OFFER, "10.99.1.4", 0xCAFE)
    assert options[dhcp.NETMASK] == bytes([255, 255, 240, 0])
    assert options[dhcp.ROUTER] == bytes([10, 99, 0, 1])
    assert options[dhcp.HOST_NAME] == b"ip-10-99-1-4"
    assert struct.unpack("!I", options[dhcp.LEASE]) == (3600,)


def test_a_request_for_that_address_is_granted_and_for_another_refused() -> None:
    assert answered(message(REQUEST, "10.99.1.4"))[:2] == (ACK, "10.99.1.4")
    kind, address, options, _ = answered(message(REQUEST, "10.99.1.5"))
    assert (kind, address) == (NAK, "0.0.0.0")
    assert dhcp.ROUTER not in options


def test_what_is_no_clients_message_is_ignored() -> None:
    good = message(DISCOVER)
    for packet in (b"", good[:100], b"\2" + good[1:], good[: dhcp.HEADER.size], good.replace(dhcp.MAGIC, b"xxxx")):
        assert dhcp.parse(packet) is None
    released = dhcp.parse(message(7))
    assert released is not None
    assert dhcp.answer(released, LEASE, "10.99.0.0/20", "10.99.0.1") is None


def test_cut_off_options_do_no_harm() -> None:
    for length in range(dhcp.HEADER.size, len(message(REQUEST, "10.99.1.4"))):
        dhcp.parse(message(REQUEST, "10.99.1.4")[:length])
