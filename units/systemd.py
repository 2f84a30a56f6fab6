"""Unit: a systemd unit that is installed, running, and running with the files it has now."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from units.files import File, digest
from units.host import Host
from units.resource import Change, Description

UNIT_DIRECTORY = "/etc/systemd/system"
STARTED = "/run/bootwright/started"


@dataclass(frozen=True, slots=True)
class Unit:
    """`content=None` leaves the unit file to the distribution (containerd.service) and only runs it.

    `reads` is the digest of every file the service reads only at its start. The digest of the last start is kept
    under /run, so a crash between a write and the restart heals on the next run, and a reboot forgets it.
    bootwright's units are started by the agent, after verification, never by systemd at boot: none is enabled.
    """

    name: str
    content: str | None = None
    reads: str = ""
    mode: int = 0o644

    @property
    def key(self) -> str:
        return f"unit:{self.name}"

    @property
    def inputs(self) -> str:
        """What must be the same at the next start for a restart to be needless."""
        return digest(f"{self.reads}\n{self.content or ''}".encode())

    def check(self, host: Host) -> Change | None:
        if self._file and (change := self._file.check(host)):
            return change
        state = host.systemd.state(self.name)
        if state.active != "active":
            return Change(f"start (is {state.active})")
        if self._started(host) != self.inputs:
            return Change("restart: an input changed since its last start")
        return None

    def apply(self, host: Host) -> None:
        stamp = f"{STARTED}/{self.name}"
        if self._file and self._file.check(host):
            # First: whoever changed the file may have restarted the service with it, and a crash may come in between.
            host.files.remove(stamp)
            self._file.apply(host)
        stale = self._started(host) != self.inputs
        # Of a file of ours that is new to it systemd may still know the old one, or none. It runs every generator for a
        # reload: a unit of the image is not reloaded for the inputs of the service.
        if stale and self._file:
            host.systemd.reload_daemon()
        state = host.systemd.state(self.name)
        if state.need_daemon_reload:
            host.systemd.reload_daemon()
        running = state.active in ("active", "activating", "reloading")
        if running and stale:
            host.systemd.restart(self.name)
        else:
            host.systemd.start(self.name)
        host.files.write(stamp, f"{self.inputs}\n".encode(), mode=0o644, owner="root", group="root")

    def describe(self) -> Description:
        lines = self._file.describe().lines if self._file else ("from the distribution",)
        return Description(self.key, (*lines, f"inputs {self.inputs}"))

    @property
    def _file(self) -> File | None:
        path = f"{UNIT_DIRECTORY}/{self.name}"
        return None if self.content is None else File(path, self.content, mode=self.mode, kind="unit")

    def _started(self, host: Host) -> str | None:
        state = host.files.read(f"{STARTED}/{self.name}")
        return state.content.decode(errors="replace").strip() if state and state.content else None


_PLAIN = re.compile(r"[A-Za-z0-9_@:/.,=+*<>~^|()\[\]-]+")


def unit_arguments(arguments: Iterable[str]) -> list[str]:
    """Arguments as they stand in ExecStart: systemd must neither split nor expand them (systemd.service(5))."""
    return [argument if _PLAIN.fullmatch(argument) else _quoted(argument) for argument in arguments]


def _quoted(argument: str) -> str:
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def reads(*files: File) -> str:
    """One digest over the files that a service reads at its start."""
    return digest("\n".join(f"{file.path} {file.digest}" for file in files).encode())
