"""MemoryHost: an empty machine in memory. The coordinator plans every group on it before it publishes; tests boot it.

It is a working model of the ports, not a stub: units fail to start without their files, volumes must be formatted
before they mount, certificates are really issued by throw-away authorities.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pki.authority import Authority
from pki.keys import PrivateKeyPem, load_public_key
from pki.request import CertificateRequest
from units.errors import Fatal
from units.evidence import DeviceEvidence
from units.host import (
    Account,
    Answer,
    FileState,
    HeldVolume,
    Host,
    MountState,
    Record,
    UnitState,
    VolumeClaim,
)


@dataclass
class MemoryFiles:
    entries: dict[str, FileState] = field(default_factory=dict)
    assets: dict[str, str] = field(default_factory=dict)  # path -> sha256 of what was installed there

    def read(self, path: str) -> FileState | None:
        return self.entries.get(path)

    def digest(self, path: str) -> str | None:
        if path in self.assets:
            return self.assets[path]
        state = self.entries.get(path)
        return hashlib.sha256(state.content).hexdigest() if state and state.content is not None else None

    def write(self, path: str, content: bytes, *, mode: int, owner: str, group: str) -> None:
        self.entries[path] = FileState("file", mode, owner, group, content)

    def set_attributes(self, path: str, *, mode: int, owner: str, group: str) -> None:
        state = self.entries[path]
        self.entries[path] = FileState(state.kind, mode, owner, group, state.content, state.target)

    def make_directory(self, path: str, *, mode: int, owner: str, group: str) -> None:
        self.entries[path] = FileState("directory", mode, owner, group)

    def symlink(self, path: str, target: str) -> None:
        self.entries[path] = FileState("symlink", 0o777, "root", "root", target=target)

    def install(self, source: str, path: str, *, mode: int) -> None:
        self.assets[path] = source.rpartition("/")[2]
        self.entries[path] = FileState("file", mode, "root", "root", b"")

    def remove(self, path: str) -> None:
        self.entries.pop(path, None)

    def list(self, path: str) -> Sequence[str]:
        prefix = f"{path}/"
        return sorted({name.removeprefix(prefix).split("/")[0] for name in self.entries if name.startswith(prefix)})


@dataclass
class MemorySystemd:
    files: MemoryFiles
    active: set[str] = field(default_factory=set)
    enabled: set[str] = field(default_factory=set)
    restarts: list[str] = field(default_factory=list)

    def state(self, unit: str) -> UnitState:
        return UnitState(unit in self.enabled, "active" if unit in self.active else "inactive")

    def reload_daemon(self) -> None:
        pass

    def enable(self, unit: str) -> None:
        self.enabled.add(unit)

    def start(self, unit: str) -> None:
        self.active.add(unit)

    def restart(self, unit: str) -> None:
        self.restarts.append(unit)
        self.active.add(unit)

    def stop(self, unit: str) -> None:
        self.active.discard(unit)


@dataclass
class MemoryKernel:
    values: dict[str, str] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)

    def sysctl(self, name: str) -> str | None:
        return self.values.get(name, "0")

    def set_sysctl(self, name: str, value: str) -> None:
        self.values[name] = value

    def module_loaded(self, name: str) -> bool:
        return name in self.modules

    def load_module(self, name: str) -> None:
        self.modules.add(name)


@dataclass
class MemoryUsers:
    accounts: dict[str, Account] = field(default_factory=dict)

    def account(self, name: str) -> Account | None:
        return self.accounts.get(name)

    def create(self, account: Account) -> None:
        self.accounts[account.name] = account


@dataclass
class MemoryVolumes:
    """One blank volume per claim, waiting to be attached."""

    attached: dict[str, HeldVolume] = field(default_factory=dict)
    formatted: dict[str, str] = field(default_factory=dict)  # volume id -> uuid
    recorded: dict[str, str] = field(default_factory=dict)
    intents: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    def held(self, claim: VolumeClaim) -> HeldVolume | None:
        return self.attached.get(claim.etcd)

    def attach(self, claim: VolumeClaim) -> HeldVolume:
        volume_id = f"vol-{hashlib.sha256(claim.etcd.encode()).hexdigest()[:17]}"
        held = HeldVolume(volume_id, claim.candidates[0], f"/dev/memory-{claim.etcd}")
        self.attached[claim.etcd] = held
        self.sizes[volume_id] = claim.minimum_bytes
        return held

    def evidence(self, volume: HeldVolume) -> DeviceEvidence:
        uuid = self.formatted.get(volume.volume_id)
        return DeviceEvidence(
            volume_id=volume.volume_id,
            serial_matches=True,
            is_block_device=True,
            size_bytes=self.sizes[volume.volume_id],
            mounted_at=None,
            exclusive=True,
            blkid_exit=0 if uuid else 2,
            fstype="ext4" if uuid else None,
            fs_uuid=uuid,
            partition_table=None,
            signatures=("ext4",) if uuid else (),
            samples_zero=uuid is None,
            created_from=None,
            intent_uuid=self.intents.get(volume.volume_id),
            formatted_uuid=self.recorded.get(volume.volume_id),
        )

    def record_intent(self, volume: HeldVolume, uuid: str) -> None:
        self.intents[volume.volume_id] = uuid

    def format(self, volume: HeldVolume, uuid: str, label: str) -> None:
        del label
        self.formatted[volume.volume_id] = uuid

    def record_formatted(self, volume: HeldVolume, uuid: str) -> None:
        self.recorded[volume.volume_id] = uuid
        self.intents.pop(volume.volume_id, None)

    def repair(self, volume: HeldVolume) -> None:
        if volume.volume_id not in self.formatted:
            raise Fatal("not-formatted", f"{volume.volume_id} has no file system")

    def grow(self, volume: HeldVolume) -> None:
        pass


@dataclass
class MemoryMounts:
    mounts: dict[str, MountState] = field(default_factory=dict)
    protected: set[str] = field(default_factory=set)

    def mounted(self, path: str) -> MountState | None:
        return self.mounts.get(path)

    def mount(self, device: str, path: str, *, fstype: str, options: tuple[str, ...]) -> None:
        self.mounts[path] = MountState(device, fstype, options)

    def protect(self, path: str) -> None:
        self.protected.add(path)


@dataclass
class MemorySecrets:
    """Signs with the authorities it is given: the previews' throw-away ones, or a test's."""

    authorities: dict[str, Authority]
    keys: dict[str, PrivateKeyPem]
    now: datetime

    def open(self, name: str) -> bytes:
        return self.keys[name].pem

    def issue(self, request: CertificateRequest, public_key_pem: bytes) -> bytes:
        return self.authorities[request.authority].issue(request, load_public_key(public_key_pem), self.now)


@dataclass
class MemoryAssets:
    def obtain(self, sha256: str, size: int) -> str:
        del size
        return f"/opt/bootwright/assets/sha256/{sha256[:2]}/{sha256}"


@dataclass
class MemoryImages:
    loaded: set[str] = field(default_factory=set)

    def present(self, reference: str) -> bool:
        return reference in self.loaded

    def load(self, archive: str, reference: str) -> None:
        del archive
        self.loaded.add(reference)


@dataclass
class MemoryRecords:
    objects: dict[str, Record] = field(default_factory=dict)

    def get(self, key: str) -> Record | None:
        return self.objects.get(key)

    def create(self, key: str, content: bytes) -> bool:
        if key in self.objects:
            return False
        self.objects[key] = Record(content, hashlib.sha256(content).hexdigest())
        return True

    def replace(self, key: str, content: bytes, etag: str) -> bool:
        found = self.objects.get(key)
        if found is None or found.etag != etag:
            return False
        self.objects[key] = Record(content, hashlib.sha256(content).hexdigest())
        return True


@dataclass
class MemoryProbes:
    """Healthy as long as something runs at all."""

    systemd: MemorySystemd

    def get(self, url: str) -> Answer | None:
        del url
        return Answer(200, "ok") if self.systemd.active else None


@dataclass
class MemoryClock:
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    ticks: float = 0.0
    waits: list[str] = field(default_factory=list)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.ticks

    def wait(self, seconds: float, reason: str) -> None:
        self.ticks += seconds
        self.waits.append(reason)


@dataclass
class MemoryHost:
    """The ports of one machine in memory; `host` is what resources take."""

    secrets: MemorySecrets
    clock: MemoryClock = field(default_factory=MemoryClock)
    files: MemoryFiles = field(default_factory=MemoryFiles)
    kernel: MemoryKernel = field(default_factory=MemoryKernel)
    users: MemoryUsers = field(default_factory=MemoryUsers)
    volumes: MemoryVolumes = field(default_factory=MemoryVolumes)
    mounts: MemoryMounts = field(default_factory=MemoryMounts)
    assets: MemoryAssets = field(default_factory=MemoryAssets)
    images: MemoryImages = field(default_factory=MemoryImages)
    records: MemoryRecords = field(default_factory=MemoryRecords)
    systemd: MemorySystemd = field(init=False)

    def __post_init__(self) -> None:
        self.systemd = MemorySystemd(self.files)

    @property
    def host(self) -> Host:
        return Host(
            files=self.files,
            systemd=self.systemd,
            kernel=self.kernel,
            users=self.users,
            volumes=self.volumes,
            mounts=self.mounts,
            secrets=self.secrets,
            assets=self.assets,
            images=self.images,
            records=self.records,
            probes=MemoryProbes(self.systemd),
            clock=self.clock,
        )
