"""One etcd member's machine, as far as the resources that decide its start can see it."""

from dataclasses import dataclass, field
from typing import Any

from tests.units.machines import empty_machine
from units.bootstrap_record import BootstrapRecord, decode_record
from units.etcd_members import EtcdAccess, NoEtcd
from units.etcd_rejoin import EtcdUrls
from units.host import Answer, HeldVolume, VolumeClaim
from units.membership import EtcdBegun, EtcdBootstrap, EtcdEstablished
from units.memory import MemoryHost, MemoryRecords

THREE, ONE = ("a", "b", "c"), ("a",)
MOUNT, ENVIRONMENT, KEY = "/var/lib/etcd/main", "/run/bootwright/etcd-main.env", "etcd/main/cluster.json"
WAL = f"{MOUNT}/data/member/wal/0-0.wal"
URL = "http://127.0.0.1:2381/readyz"


@dataclass
class Member:
    """One member's machine with its volume mounted, and etcd as far as these resources see it."""

    name: str
    members: tuple[str, ...]
    records: MemoryRecords
    volume_id: str = ""
    ready: bool = True
    etcd: EtcdAccess = field(default_factory=NoEtcd)
    machine: MemoryHost = field(init=False)

    def __post_init__(self) -> None:
        self.machine = empty_machine()
        self.machine.records = self.records
        self.machine.etcd = self.etcd
        self.volume_id = self.volume_id or f"vol-{self.name}"
        self.machine.volumes.attached["main"] = HeldVolume(self.volume_id, self.name, "/dev/memory-main")
        self.machine.files.mounted[MOUNT] = {}
        self.machine.probes.get = lambda _url: Answer(200, "ok") if self.ready else None  # type: ignore[method-assign]

    @property
    def claim(self) -> VolumeClaim:
        return VolumeClaim("prod.example.com", "main", self.members, (self.name,), 1)

    @property
    def urls(self) -> EtcdUrls:
        names = [(name, f"https://{name}.etcd-main.internal.prod.example.com") for name in self.members]
        return EtcdUrls(
            tuple((name, f"{base}:2380") for name, base in names), tuple((name, f"{base}:2379") for name, base in names)
        )

    @property
    def bootstrap(self) -> EtcdBootstrap:
        return EtcdBootstrap(self.claim, MOUNT, ENVIRONMENT, "token-g1", f"i-{self.name}", self.urls)

    @property
    def begun(self) -> EtcdBegun:
        return EtcdBegun(self.claim, MOUNT, ENVIRONMENT)

    @property
    def established(self) -> EtcdEstablished:
        return EtcdEstablished(self.claim, MOUNT, ENVIRONMENT, URL, self.urls)

    def decide(self) -> str:
        self.bootstrap.apply(self.machine.host)
        assert self.bootstrap.check(self.machine.host) is None
        return self.granted

    @property
    def granted(self) -> str:
        content = self.machine.files.entries[ENVIRONMENT].content
        assert content is not None
        return content.decode().strip().removeprefix("INITIAL_CLUSTER_STATE=")

    def start_etcd(self) -> None:
        self.machine.files.write(WAL, b"", mode=0o600, owner="etcd", group="etcd")

    def establish(self) -> None:
        self.established.apply(self.machine.host)
        assert self.established.check(self.machine.host) is None

    def boot(self) -> None:
        self.decide()
        self.start_etcd()
        self.establish()

    def lose_data(self) -> None:
        self.machine.files.mounted[MOUNT].clear()


def member(
    name: str = "a", members: tuple[str, ...] = ONE, records: MemoryRecords | None = None, **more: Any
) -> Member:
    return Member(name, members, MemoryRecords() if records is None else records, **more)


def record_of(records: MemoryRecords) -> BootstrapRecord:
    return decode_record(records.objects[KEY].content, KEY)


def has_log(one: Member) -> bool:
    return one.machine.files.read(WAL) is not None
