"""How full this machine is: memory, disks, load. For people; nothing decides on it."""

from dataclasses import asdict, dataclass
from typing import Any

# What fills up and then stops a node: the root disk (images, logs) and etcd's volumes.
_PLACES = ("/", "/var/lib/etcd/main", "/var/lib/etcd/events")


@dataclass(frozen=True, slots=True)
class Load:
    memory_used_bytes: int
    memory_bytes: int
    load_1_minute: float
    cpus: int
    disks_used_percent: dict[str, float]  # mount point -> percent of the file system

    def as_document(self) -> dict[str, Any]:
        return asdict(self)


def machine_load() -> Load:
    import psutil

    memory = psutil.virtual_memory()
    mounted = {part.mountpoint for part in psutil.disk_partitions(all=False)} | {"/"}
    return Load(
        memory_used_bytes=memory.total - memory.available,
        memory_bytes=memory.total,
        load_1_minute=psutil.getloadavg()[0],
        cpus=psutil.cpu_count() or 1,
        disks_used_percent={place: psutil.disk_usage(place).percent for place in _PLACES if place in mounted},
    )
