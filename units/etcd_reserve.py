"""EtcdReserve: etcd's volume has room, and a reserve for when it has none. The decisions are in `units.etcd_room`.

In the plan for a machine that boots on a full volume: before anything is written there, and before etcd starts. While
it runs, the poll of every minute looks (`agent.etcd.relief`).
"""

from dataclasses import dataclass

from units.etcd_room import RESERVE, next_step
from units.host import Host
from units.resource import Change, Description


@dataclass(frozen=True, slots=True)
class EtcdReserve:
    etcd: str
    path: str  # the mount

    @property
    def key(self) -> str:
        return f"etcd-reserve:{self.etcd}"

    def check(self, host: Host) -> Change | None:
        room = host.etcd_storage.room(self.path)
        if room is None:
            return Change("look for room on the volume")
        step = next_step(room)
        return Change(str(step)) if step else None

    def apply(self, host: Host) -> None:
        host.etcd_storage.make_room(self.etcd, self.path)

    def describe(self) -> Description:
        return Description(self.key, (f"{self.path}/{RESERVE}, given up when the volume is full",))
