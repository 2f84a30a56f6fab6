"""The border between the region and the machines it switches on: one value in, one handle back."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

# What a machine's operations raise when the machine, or a command on the host, fails.
MACHINE_ERRORS = (RuntimeError, OSError)


@dataclass(frozen=True, slots=True)
class Instance:
    """All a machine is told at launch; what the guest itself wants to know it asks IMDS for.

    `directory` belongs to the machine: disks, console and pid live there and survive stop and start.
    """

    id: str
    image_id: str
    instance_type: str
    memory_mib: int
    zone: str
    private_ip: str
    prefix_length: int
    gateway: str
    mac: str
    hostname: str
    directory: Path
    image_disk: Path | None = None  # of an image that this region has made; None: one that was baked


@dataclass(frozen=True, slots=True)
class Completed:
    returncode: int
    stdout: str
    stderr: str


class MachineHandle(Protocol):
    """One machine. Calls for one machine never overlap; the fleet sees to that."""

    @property
    def console_path(self) -> Path: ...

    def start(self) -> None:
        """Switch it on, with the disks it had; returns when the process runs, long before the guest has booted."""

    def power_cut(self) -> None:
        """Off, at once: the guest's page cache is lost. No error when it is off already."""

    def shutdown(self, timeout: float) -> None:
        """Ask the guest to power off; power_cut after `timeout` seconds."""

    def attach_volume(self, volume_id: str, path: Path) -> None:
        """Plug a disk whose serial is the volume id without its dash. No error when plugged already.

        On a machine that is off it is there at the next start.
        """

    def detach_volume(self, volume_id: str) -> None:
        """Unplug it. Raises while the guest holds it open; no error when it is not plugged."""

    def exec(self, argv: Sequence[str], *, timeout: float) -> Completed:
        """Run a command in the guest as root."""

    def is_alive(self) -> bool: ...

    def copy_disk(self, target: Path) -> None:
        """Its root disk, as it is now, as one raw file that does not exist yet. The machine is off."""


class Launch(Protocol):
    """Make a machine from its instance; it is switched on by start()."""

    def __call__(self, instance: Instance) -> MachineHandle: ...


def load_launch(dotted: str) -> Launch:
    """`package.module:function` -> that function."""
    module, _, name = dotted.partition(":")
    return cast("Launch", getattr(importlib.import_module(module), name))
