"""The machines behind the instances: one lock each, so that no two operations on one machine overlap."""

import logging
import shutil
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.lab import disks
from tests.lab.region.machines import Completed, Instance, Launch, MachineHandle
from tests.lab.region.settings import RunDirectory

LOG = logging.getLogger(__name__)
SHUTDOWN_SECONDS = 60.0
CONSOLE_BYTES = 64 * 1024  # what GetConsoleOutput keeps


class Fleet:
    """Machines by instance id. A machine that never was, or is gone, is simply off."""

    def __init__(self, run: RunDirectory, launch: Launch) -> None:
        self._run = run
        self._launch = launch
        self._machines: dict[str, MachineHandle] = {}
        self._locks: dict[str, threading.RLock] = {}
        self._dark: set[str] = set()
        self._guard = threading.Lock()

    def delete_volume(self, volume_id: str) -> None:
        disks.delete_volume(self._run.volume(volume_id))

    def switch_on(self, instance: Instance) -> None:
        with self._lock(instance.id):
            machine = self._machines.get(instance.id)
            if machine is None:
                instance.directory.mkdir(parents=True, exist_ok=True)
                machine = self._launch(instance)
                self._machines[instance.id] = machine
            machine.start()
            self._dark.discard(instance.id)

    def restart(self, instance_id: str) -> None:
        """Switch a known machine on again, with its disks as they are."""
        with self._lock(instance_id):
            self._machines[instance_id].start()
            self._dark.discard(instance_id)

    def power_cut(self, instance_id: str, *, dark: bool = False) -> None:
        """dark: the hardware is dead; EC2 goes on calling the instance running."""
        with self._lock(instance_id):
            if dark:
                self._dark.add(instance_id)
            machine = self._machines.get(instance_id)
            if machine:
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
            self._machines[instance_id].attach_volume(volume_id, path)

    def detach(self, instance_id: str, volume_id: str) -> None:
        with self._lock(instance_id):
            machine = self._machines.get(instance_id)
            if machine and machine.is_alive():
                machine.detach_volume(volume_id)

    def exec(self, instance_id: str, argv: Sequence[str], timeout: float) -> Completed:
        """Without the machine's lock: a long command must not keep it from losing power."""
        return self._machines[instance_id].exec(argv, timeout=timeout)

    def is_dark(self, instance_id: str) -> bool:
        return instance_id in self._dark

    def is_alive(self, instance_id: str) -> bool:
        machine = self._machines.get(instance_id)
        return machine is not None and machine.is_alive()

    def console_path(self, instance_id: str) -> Path | None:
        machine = self._machines.get(instance_id)
        return machine.console_path if machine else None

    def console_tail(self, instance_id: str) -> bytes:
        path = self.console_path(instance_id)
        if path is None or not path.exists():
            return b""
        with path.open("rb") as console:
            console.seek(max(0, path.stat().st_size - CONSOLE_BYTES))
            return console.read()

    def scrap(self, instance_id: str) -> None:
        """Off for good: its disks go, its console stays readable."""
        self.power_cut(instance_id)
        console = self.console_path(instance_id)
        directory = self._run.machine(instance_id)
        keep = {console.name, "diary.jsonl"} if console else set()
        for entry in directory.iterdir() if directory.is_dir() else ():
            if entry.name not in keep:
                with suppress(OSError):
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def end(self) -> None:
        """Cut every machine's power."""
        for instance_id in list(self._machines):
            try:
                self.power_cut(instance_id)
            except Exception:
                LOG.exception("could not switch off %s", instance_id)

    def _lock(self, instance_id: str) -> threading.RLock:
        with self._guard:
            return self._locks.setdefault(instance_id, threading.RLock())
