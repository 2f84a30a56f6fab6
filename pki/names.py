"""The one spelling of a DNS name and of an IP address, so that equal names are equal text."""

import ipaddress
import re

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LONGEST = 253


def normal_dns_name(text: str) -> str:
    """Lower case, without a root dot; ValueError says what is wrong. No wildcards, no underscores, no addresses."""
    # Before lower(): U+212A, the Kelvin sign, would become a plain k.
    if not text.isascii():
        raise ValueError("not ASCII; write an international name in its xn-- form")
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > _LONGEST or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("not a DNS name of letters, digits, hyphens and dots")
    # RFC 1123 2.1: the last label of a host name is alphabetic, or 10.0.0.1 would be one.
    if labels[-1].isdigit():
        raise ValueError("an address belongs into ip_addresses")
    return name


def normal_ip_address(text: str) -> str:
    """The canonical text of an address that a peer can connect to; ValueError says what is wrong."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError("a zone holds on one machine only")
        # Go's net.IP, which every Kubernetes component matches with, does not tell the two forms apart.
        address = address.ipv4_mapped or address
    if address.is_unspecified or address.is_multicast:
        raise ValueError("nobody can connect to it")
    return str(address)


def address_order(text: str) -> tuple[int, int]:
    """Sort key: IPv4 before IPv6, then by value."""
    address = ipaddress.ip_address(text)
    return address.version, int(address)
