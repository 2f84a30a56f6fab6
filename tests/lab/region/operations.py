"""The control operations of a running region, by name; their arguments and results are JSON."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tests.lab.region.directory import Directory
from tests.lab.region.ec2 import GONE, StrictEC2Backend
from tests.lab.region.faults import ApiFault, Faults
from tests.lab.region.fleet import Fleet


class Operations:
    def __init__(self, backend: StrictEC2Backend, directory: Directory, fleet: Fleet, faults: Faults) -> None:
        self._backend = backend
        self._directory = directory
        self._fleet = fleet
        self._faults = faults

    def table(self, stop: Callable[[], None]) -> Mapping[str, Callable[..., Any]]:
        return {
            "status": self.status,
            "exec": self.exec,
            "power-cut": self.power_cut,
            "power-on": self.power_on,
            "fault-api": self.fault_api,
            "fault-imds": self.fault_imds,
            "fault-stick": self._faults.stick,
            "fault-balancer": self._faults.block,
            "fault-clear": self._faults.clear,
            "faults": self._faults.listing,
            "stop": stop,
        }

    def status(self) -> dict[str, Any]:
        instances = [self._row(instance) for instance in self._backend.all_instances()]
        volumes = [
            {
                "id": volume.id,
                "zone": volume.availability_zone,
                "size_gib": volume.size,
                "tags": {tag["key"]: tag["value"] for tag in volume.get_tags()},
                "instance": volume.attachment.instance.id if volume.attachment else "",
                "device": volume.attachment.device if volume.attachment else "",
                "state": volume.attachment.status if volume.attachment else "available",
            }
            for volume in list(self._backend.volumes.values())
        ]
        return {
            "instances": instances,
            "volumes": volumes,
            "balancer": list(self._directory.control_plane_addresses()),
            "faults": self._faults.listing(),
        }

    def exec(self, instance: str, argv: Sequence[str], timeout: float = 60.0) -> dict[str, Any]:
        return asdict(self._fleet.exec(instance, argv, timeout))

    def power_cut(self, instance: str, *, stay_off: bool = False) -> None:
        """The page cache is lost. Without stay_off it boots again at once."""
        self._require_running(instance)
        if stay_off:
            self._fleet.darken(instance)
        else:
            self._fleet.restart(instance, graceful=False)

    def power_on(self, instance: str) -> None:
        self._require_running(instance)
        self._fleet.restart(instance, graceful=False)

    def _require_running(self, instance: str) -> None:
        state = self._backend.get_instance(instance).state
        if state != "running":
            raise RuntimeError(f"{instance} is {state}; only a running instance has power (StartInstances)")

    def fault_api(self, **fields: Any) -> int:
        return self._faults.add(ApiFault(**fields))

    def fault_imds(self, instance: str, **fields: Any) -> None:
        self._faults.set_imds(instance, **fields)

    def _row(self, instance: Any) -> dict[str, Any]:
        console = self._fleet.console_path(instance.id)
        off = instance.state in (*GONE, "stopped")
        return {
            "id": instance.id,
            "state": instance.state,
            "reason": instance.state_reason.code if off else "",
            "message": instance.state_reason.message if off else "",
            "powered": self._fleet.is_alive(instance.id),
            "zone": instance.availability_zone,
            "type": instance.instance_type,
            "private_ip": instance.private_ip,
            "profile": self._directory.profile_name(instance),
            "launched": instance.launch_time.isoformat(),
            "tags": {tag["key"]: tag["value"] for tag in instance.get_tags()},
            "console": str(console) if console else "",
        }
