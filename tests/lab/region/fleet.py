"""The machines behind the instances: one lock each, so that no two operations on one machine overlap."""

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab import disks
from tests.lab.region.machines import MACHINE_ERRORS, Completed, Instance, Launch, MachineHandle
from tests.lab.region.settings import RunDirectory

LOG = logging.getLogger(__name__)
SHUTDOWN_SECONDS = 60.0
KEPT = (".log", ".jsonl")
CONSOLE_BYTES = 64 * 1024  # what GetConsoleOutput keeps


class NoMachineError(RuntimeError):
    pass


class Fleet:
    """Machines by instance id. A machine that never was, or is gone, is simply off."""

    def __init__(self, run: RunDirectory, launch: Launch) -> None:
        self._run = run
        self._launch = launch
        self._machines: dict[str, MachineHandle] = {}
        self._locks: dict[str, threading.RLock] = {}
        self._dark: set[str] = set()
        self._consoles: dict[str, Path] = {}
        self._guard = threading.Lock()

    def delete_volume(self, volume_id: str) -> None:
        disks.delete_volume(self._run.volume(volume_id))

    def switch_on(self, instance: Instance, volumes: Mapping[str, int]) -> None:
        """volumes: id -> size in GiB of those that are to be there from the first moment."""
        with self._lock(instance.id):
            machine = self._machines.get(instance.id)
            if machine is None:
                instance.directory.mkdir(parents=True, exist_ok=True)
                machine = self._launch(instance)
                self._machines[instance.id] = machine
                self._consoles[instance.id] = machine.console_path
            for volume_id, size_gib in volumes.items():
                self.attach(instance.id, volume_id, size_gib)
            machine.start()
            self._dark.discard(instance.id)

    def restart(self, instance_id: str, *, graceful: bool) -> None:
        """Off and on again, with its disks as they are; until it is on again it counts as dark."""
        with self._lock(instance_id):
            machine = self._machine(instance_id)
            self._dark.add(instance_id)
            if graceful:
                machine.shutdown(SHUTDOWN_SECONDS)
            else:
                machine.power_cut()
            machine.start()
            self._dark.discard(instance_id)

    def darken(self, instance_id: str) -> None:
        """The hardware is dead: EC2 goes on calling the instance running, and its volumes held."""
        with self._lock(instance_id):
            machine = self._machine(instance_id)
            self._dark.add(instance_id)
            machine.power_cut()

    def shutdown(self, instance_id: str) -> None:
        with self._lock(instance_id):
            machine = self._machines.get(instance_id)
            if machine:
                machine.shutdown(SHUTDOWN_SECONDS)

    def attach(self, instance_id: str, volume_id: str, size_gib: int) -> None:
        """The file behind the volume is made when it is first attached."""
        path = self._run.volume(volume_id)
        with self._lock(instance_id):
            if not path.exists():
                disks.create_volume(path, size_gib)
            self._machine(instance_id).attach_volume(volume_id, path)

    def detach(self, instance_id: str, volume_id: str) -> None:
        with self._lock(instance_id):
            machine = self._machines.get(instance_id)
            if machine:
                machine.detach_volume(volume_id)

    def exec(self, instance_id: str, argv: Sequence[str], timeout: float) -> Completed:
        """Without the machine's lock: a long command must not keep it from losing power."""
        return self._machine(instance_id).exec(argv, timeout=timeout)

    def is_dark(self, instance_id: str) -> bool:
        return instance_id in self._dark

    def is_alive(self, instance_id: str) -> bool:
        machine = self._machines.get(instance_id)
        return machine is not None and machine.is_alive()

    def console_path(self, instance_id: str) -> Path | None:
        return self._consoles.get(instance_id)

    def console_tail(self, instance_id: str) -> bytes:
        path = self.console_path(instance_id)
        if path is None or not path.exists():
            return b""
        with path.open("rb") as console:
            console.seek(max(0, path.stat().st_size - CONSOLE_BYTES))
            return console.read()

    def copy_disk(self, instance_id: str, target: Path) -> None:
        """The machine's root disk as a file. One that is on is switched off for it, and on again (CreateImage)."""
        partial = target.with_suffix(".partial")
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._lock(instance_id):
            machine = self._machine(instance_id)
            was_on = machine.is_alive()
            if was_on:
                self._dark.add(instance_id)
                machine.shutdown(SHUTDOWN_SECONDS)
            try:
                machine.copy_disk(partial)
                partial.rename(target)
            finally:
                partial.unlink(missing_ok=True)
                if was_on:
                    machine.start()
                    self._dark.discard(instance_id)

    def scrap(self, instance_id: str) -> None:
        """Off for good: its disks go, its console (and a double's diary) stays readable."""
        with self._lock(instance_id):
            machine = self._machines.pop(instance_id, None)
            if machine is None:
                return
            machine.power_cut()
            for entry in self._run.machine(instance_id).iterdir():
                if entry.suffix not in KEPT and entry.is_file():
                    entry.unlink()

    def end(self) -> None:
        """Cut every machine's power."""
        for instance_id, machine in list(self._machines.items()):
            try:
                with self._lock(instance_id):
                    machine.power_cut()
            except MACHINE_ERRORS:
                LOG.exception("could not switch off %s", instance_id)

    def _machine(self, instance_id: str) -> MachineHandle:
        machine = self._machines.get(instance_id)
        if machine is None:
            raise NoMachineError(f"{instance_id} has no machine: it has not been launched yet, or is terminated")
        return machine

    def _lock(self, instance_id: str) -> threading.RLock:
        with self._guard:
            return self._locks.setdefault(instance_id, threading.RLock())
