"""The lab's network: one bridge with the host on it, a tap for each machine, and no way out.

Everything is found by name: what an earlier run left behind is taken over or removed, whoever made it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path

from tests.lab.run import run

METADATA = "169.254.169.254"


@dataclass(frozen=True, slots=True)
class Bridge:
    """The host's addresses on it; the first is the network's gateway and carries the prefix length."""

    name: str = "bw-lab0"
    addresses: tuple[str, ...] = ("10.99.0.1/20", "10.99.0.2/32", f"{METADATA}/32")

    @property
    def gateway(self) -> IPv4Interface:
        return IPv4Interface(self.addresses[0])


LAB = Bridge()


def up(bridge: Bridge = LAB) -> None:
    """The bridge stands with just these addresses; right also when it, or half of it, stood before."""
    if not _exists(bridge.name):
        _ip("link", "add", bridge.name, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
    for address in sorted(_addresses(bridge.name) - set(bridge.addresses)):
        _ip("address", "delete", address, "dev", bridge.name)
    for address in bridge.addresses:
        _ip("address", "replace", address, "dev", bridge.name)
    _ip("link", "set", bridge.name, "up")
    _close_the_way_out(bridge.name)


def down(bridge: Bridge = LAB) -> None:
    """The bridge and every tap on it are gone. No error when they were not there."""
    for tap in _ports(bridge.name):
        _ip("link", "delete", tap)
    if _exists(bridge.name):
        _ip("link", "delete", bridge.name)


def plug(tap: str, bridge: str = LAB.name) -> None:
    """A fresh tap of that name on the bridge. Raises CommandFailed if the bridge is down or a process holds the tap."""
    unplug(tap)
    _ip("tuntap", "add", "dev", tap, "mode", "tap")
    _no_ipv6(tap)
    _ip("link", "set", tap, "master", bridge, "up")


def unplug(tap: str) -> None:
    if _exists(tap):
        _ip("link", "delete", tap)


def tap_name(instance_id: str) -> str:
    """A Linux interface name has 15 characters at most; the end of an instance id is the random part of it."""
    return f"bw-{instance_id[-11:]}"


def _close_the_way_out(name: str) -> None:
    """Nothing that comes in over the bridge is routed on, even on a host that routes for others."""
    Path(f"/proc/sys/net/ipv4/conf/{name}/forwarding").write_text("0")
    _no_ipv6(name)


def _no_ipv6(name: str) -> None:
    switch = Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6")
    if switch.exists():
        switch.write_text("1")


def _addresses(name: str) -> set[str]:
    shown = json.loads(_ip("-json", "-4", "address", "show", "dev", name))
    return {f"{entry['local']}/{entry['prefixlen']}" for link in shown for entry in link.get("addr_info", [])}


def _ports(name: str) -> Iterable[str]:
    return sorted(path.name for path in Path(f"/sys/class/net/{name}/brif").glob("*"))


def _exists(name: str) -> bool:
    return Path(f"/sys/class/net/{name}").exists()


def _ip(*words: str) -> str:
    return run(["ip", *words], timeout=30)
