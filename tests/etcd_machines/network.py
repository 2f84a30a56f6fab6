"""A network of the tests' own: a switch and sockets on its wall, each a network namespace that a process holds open."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

GATEWAY = "10.98.0.1"


@dataclass
class Socket:
    """Where a machine is plugged in: one address."""

    address: str
    holder: int  # pid
    switch: "Switch"
    port: str

    @property
    def inside(self) -> list[str]:
        """What to put before a command to run it in this network."""
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net"]

    def unplug(self) -> None:
        self.switch.ip("link", "set", self.port, "down")

    def plug(self) -> None:
        self.switch.ip("link", "set", self.port, "up")


@dataclass
class Switch:
    holder: int
    sockets: list[Socket] = field(default_factory=list)
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def inside(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net"]

    def ip(self, *arguments: str) -> None:
        subprocess.run([*self.inside, "ip", *arguments], check=True, capture_output=True)

    def socket(self) -> Socket:
        """A new one, with an address that no other had."""
        number = len(self.sockets) + 10
        holder = self._stack.enter_context(held_namespace())
        port, address = f"port{number}", f"10.98.0.{number}"
        self.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(holder))
        self.ip("link", "set", port, "master", "switch", "up")
        made = Socket(address, holder, self, port)
        for arguments in (
            ("addr", "add", f"{address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
        ):
            subprocess.run([*made.inside, "ip", *arguments], check=True, capture_output=True)
        self.sockets.append(made)
        return made

    def close(self) -> None:
        self._stack.close()


@contextmanager
def switched_network() -> Iterator[Switch]:
    with held_namespace() as holder:
        switch = Switch(holder)
        switch.ip("link", "set", "lo", "up")
        switch.ip("link", "add", "switch", "type", "bridge", "forward_delay", "0")
        switch.ip("addr", "add", f"{GATEWAY}/24", "dev", "switch")
        switch.ip("link", "set", "switch", "up")
        try:
            yield switch
        finally:
            switch.close()


@contextmanager
def held_namespace() -> Iterator[int]:
    """The pid of a process that sits in a network namespace of its own, with the namespace made."""
    command = ["unshare", "--net", "sh", "-c", "echo here; exec sleep infinity"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"here\n"
            yield holder.pid
        finally:
            holder.kill()
