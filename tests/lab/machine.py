"""A machine of the lab: a User-Mode Linux virtual machine with a root disk, volumes, a network card and a power button.

All there is to know about it lies in its folder; any process can find, ask and stop it (`Machine.at`).
"""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from ipaddress import IPv4Interface
from pathlib import Path

from tests.lab import cow, disks, image, mconsole, network, ssh
from tests.lab.kernel import kernel
from tests.lab.power_on import HELPERS, SOCKETS, Hardware, network_arguments, write_script
from tests.lab.processes import ProcessMark, kill_session, spawn
from tests.lab.region.machines import Completed, Instance

VOLUME_DEVICES = tuple(f"ubd{letter}" for letter in "bcdefghijklmnop")  # the kernel has 16 in all


class MachineError(RuntimeError):
    """The machine cannot do what was asked; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Plugged:
    device: str
    path: Path


@dataclass(frozen=True, slots=True)
class State:
    """machine.json: what the next process has to know."""

    instance: Instance
    image: Path
    bridge: str = network.LAB.name
    kernel_arguments: tuple[str, ...] = ()
    process: ProcessMark | None = None
    volumes: dict[str, Plugged] = field(default_factory=dict)


class Machine:
    """One virtual machine. Calls for one machine must not overlap; for several they may."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.directory = state.instance.directory

    @staticmethod
    def at(directory: Path) -> "Machine":
        """The machine that some process made in this folder. Raises FileNotFoundError."""
        return Machine(_decode((directory / "machine.json").read_text()))

    @property
    def instance(self) -> Instance:
        return self._state.instance

    @property
    def console_path(self) -> Path:
        return self.directory / "console.log"

    @property
    def address(self) -> str:
        return self.instance.private_ip

    @property
    def socket(self) -> Path:
        return SOCKETS / self.instance.id / "mconsole"

    @property
    def volumes(self) -> dict[str, Plugged]:
        return dict(self._state.volumes)

    def start(self) -> None:
        """Switch it on, with the disks it had; returns when the process runs, long before the guest has booted."""
        if self.is_alive():
            return
        self.power_cut()
        SOCKETS.mkdir(exist_ok=True, mode=0o700)
        # A process id in there that means someone else by now would make the kernel choose another place.
        shutil.rmtree(self.socket.parent, ignore_errors=True)
        network.plug(self._tap, self._state.bridge)
        self._save(self._state)
        isolated = ["unshare", "--mount", "--propagation", "slave", str(self._script)]
        self._save(replace(self._state, process=spawn(isolated, self.console_path)))

    def power_cut(self) -> None:
        """Off, at once: the guest's page cache is lost. No error when it is off already."""
        if self._state.process is not None:
            kill_session(self._state.process, HELPERS)
            self._save(replace(self._state, process=None))
        network.unplug(self._tap)

    def shutdown(self, timeout: float) -> None:
        """Press the power button; power_cut when the guest is not off after `timeout` seconds."""
        try:
            mconsole.ask(self.socket, "cad")
        except mconsole.ConsoleError:
            timeout = 0
        deadline = time.monotonic() + timeout
        while self.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.power_cut()

    def is_alive(self) -> bool:
        """The power is on; the guest may be anywhere between its first instruction and its last."""
        return self._state.process is not None and self._state.process.is_alive()

    def attach_volume(self, volume_id: str, path: Path) -> None:
        """Plug the disk whose serial is the volume's id without its dash; `path` was made by disks.create_volume.

        On a machine that is off it is there at the next start. No error when plugged already. Raises MachineError.
        """
        if volume_id in self._state.volumes:
            return
        taken = {plugged.device for plugged in self._state.volumes.values()}
        device = next((name for name in VOLUME_DEVICES if name not in taken), None)
        if device is None:
            raise MachineError(f"{self.instance.id}: all {len(VOLUME_DEVICES)} slots for volumes are taken")
        if self.is_alive():
            self._ask(f"config {device}={disks.volume_disk(volume_id, path).argument}")
        self._save(replace(self._state, volumes={**self._state.volumes, volume_id: Plugged(device, path)}))

    def detach_volume(self, volume_id: str) -> None:
        """Unplug it. Raises MachineError while the guest holds it open; no error when it is not plugged."""
        plugged = self._state.volumes.get(volume_id)
        if plugged is None:
            return
        if self.is_alive():
            self._ask(f"remove {plugged.device}")
        rest = {key: value for key, value in self._state.volumes.items() if key != volume_id}
        self._save(replace(self._state, volumes=rest))

    def copy_disk(self, target: Path) -> None:
        """Its root disk as one raw file, the image's part included. Raises MachineError while it is on."""
        if self.is_alive():
            raise MachineError(f"{self.instance.id} is on: its disk would be copied without what it has not synced")
        cow.flatten(self._root.written, target)

    def exec(self, argv: Sequence[str], *, timeout: float = 60) -> Completed:
        """Run a command in the guest as root; exit code 255 also when the guest cannot be reached.

        Raises MachineError when it has no end after `timeout` seconds.
        """
        try:
            done = ssh.execute(self.address, argv, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise MachineError(f"{self.instance.id}: `{' '.join(argv)}` has no end after {timeout:.0f} s") from error
        return Completed(done.returncode, done.stdout, done.stderr)

    def wait_reachable(self, timeout: float = 60) -> None:
        """Until commands can be run in it. Raises MachineError with the end of its console."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not self.is_alive():
                raise MachineError(
                    f"{self.instance.id} went off while booting; its console ends:\n{self.console_tail()}"
                )
            if self._listens() and self.exec(["true"]).returncode == 0:
                return
            time.sleep(0.1)
        raise MachineError(
            f"{self.instance.id} cannot be reached after {timeout:.0f} s; its console ends:\n{self.console_tail()}"
        )

    def wait_booted(self, timeout: float = 120) -> str:
        """Until nothing is left to start; systemd's word for the outcome: running, degraded, maintenance."""
        deadline = time.monotonic() + timeout
        self.wait_reachable(timeout)
        remaining = max(deadline - time.monotonic(), 1)
        return self.exec(["systemctl", "is-system-running", "--wait"], timeout=remaining).stdout.strip()

    def console_tail(self, lines: int = 30) -> str:
        text = self.console_path.read_text(errors="replace") if self.console_path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _listens(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=1):
                return True
        except OSError:
            return False

    def _ask(self, command: str) -> str:
        try:
            return mconsole.ask(self.socket, command)
        except mconsole.ConsoleError as error:
            raise MachineError(f"{self.instance.id}: {error}") from error

    @property
    def _tap(self) -> str:
        return network.tap_name(self.instance.id)

    @property
    def _root(self) -> disks.Disk:
        return disks.Disk(self.directory / "root.cow", self._state.image)

    @property
    def _script(self) -> Path:
        return self.directory / "power-on"

    def _write_script(self) -> None:
        instance = self.instance
        volumes = {
            plugged.device: disks.volume_disk(volume_id, plugged.path)
            for volume_id, plugged in self._state.volumes.items()
        }
        netmask = str(IPv4Interface(f"{instance.private_ip}/{instance.prefix_length}").netmask)
        address = network_arguments(instance.private_ip, instance.gateway, netmask, instance.hostname.split(".")[0])
        hardware = Hardware(
            name=instance.id,
            memory_mib=instance.memory_mib,
            tap=self._tap,
            mac=instance.mac,
            disks={"ubda": self._root, **volumes},
            kernel_arguments=(*address, *self._state.kernel_arguments),
        )
        write_script(self._script, kernel(), hardware)

    def _save(self, state: State) -> None:
        self._state = state
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write_script()
        partial = self.directory / "machine.json.partial"
        partial.write_text(json.dumps(asdict(state), default=str, indent=1))
        partial.rename(self.directory / "machine.json")


def launch(instance: Instance) -> Machine:
    """The region's way to a machine (tests.lab.region.machines.Launch): an image of the region's, or a baked one."""
    recorded = instance.directory / "machine.json"
    if recorded.exists():
        return Machine.at(instance.directory)
    return Machine(State(instance, instance.image_disk or image.find(instance.image_id).path))


def _decode(text: str) -> State:
    raw = json.loads(text)
    told = raw["instance"]
    disk = told.get("image_disk")
    instance = Instance(**{**told, "directory": Path(told["directory"]), "image_disk": Path(disk) if disk else None})
    return State(
        instance=instance,
        image=Path(raw["image"]),
        bridge=raw["bridge"],
        kernel_arguments=tuple(raw["kernel_arguments"]),
        process=None if raw["process"] is None else ProcessMark(**raw["process"]),
        volumes={key: Plugged(value["device"], Path(value["path"])) for key, value in raw["volumes"].items()},
    )
