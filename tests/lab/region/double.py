"""A machine double: keeps a diary of what the region did to it, and boots nothing.

The diary is one JSON line per event in `diary.jsonl`. It misbehaves when told to: a file `busy-VOLUME` in its directory
means that the guest holds that disk open, `disk-unreadable` that no image can be made of it, and an instance type of
REFUSED never starts.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from tests.lab.region.machines import Completed, Instance

REFUSED = "t3.nano"


class MachineDouble:
    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._directory = instance.directory
        self._directory.mkdir(parents=True, exist_ok=True)
        self._power = self._directory / "power"
        self.console_path.touch()
        told = ("private_ip", "mac", "zone", "image_disk")
        self._note("launch", **{name: str(getattr(instance, name)) for name in told})

    @property
    def console_path(self) -> Path:
        return self._directory / "console.log"

    def start(self) -> None:
        if self._instance.instance_type == REFUSED:
            raise RuntimeError(f"machine double: {REFUSED} does not start")
        self._power.touch()
        with self.console_path.open("a") as console:
            console.write(f"machine double {self._instance.id}: this is no kernel\n")
        self._note("start")

    def power_cut(self) -> None:
        self._power.unlink(missing_ok=True)
        self._note("power-cut")

    def shutdown(self, timeout: float) -> None:
        self._power.unlink(missing_ok=True)
        self._note("shutdown")

    def attach_volume(self, volume_id: str, path: Path) -> None:
        self._note("attach", volume=volume_id, path=str(path))

    def detach_volume(self, volume_id: str) -> None:
        if (self._directory / f"busy-{volume_id}").exists():
            raise RuntimeError(f"machine double: {volume_id} is mounted")
        self._note("detach", volume=volume_id)

    def exec(self, argv: Sequence[str], *, timeout: float) -> Completed:
        self._note("exec", argv=list(argv))
        return Completed(returncode=0, stdout=f"machine double ran {argv!r}\n", stderr="")

    def copy_disk(self, target: Path) -> None:
        if (self._directory / "disk-unreadable").exists():
            raise OSError("machine double: its disk cannot be read")
        target.write_text("machine double: this is no disk\n")
        self._note("copy-disk", target=str(target))

    def is_alive(self) -> bool:
        return self._power.exists()

    def _note(self, event: str, **facts: object) -> None:
        with (self._directory / "diary.jsonl").open("a") as diary:
            diary.write(json.dumps({"event": event, **facts}) + "\n")


def launch(instance: Instance) -> MachineDouble:
    return MachineDouble(instance)
