"""MemoryHost: an empty machine in memory. The coordinator plans every group on it before it publishes; tests boot it.

It is a working model of the ports, not a stub: a unit does not start without its file and what it asserts, volumes
must be formatted before they mount, what is written to a volume stays on the volume, a started etcd leaves its log,
certificates are really issued by throw-away authorities.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from pki.authority import Authority
from pki.keys import PrivateKeyPem, load_public_key
from pki.profiles import AuthorityName
from pki.request import CertificateRequest, asked_for, csr_public_key
from units.errors import Fatal, Retryable
from units.etcd_members import EtcdAccess, NoEtcd
from units.etcd_restore import EtcdStorage
from units.health import KUBELET_HEALTH
from units.host import Account, Answer, HeldImage, Host, MountState, UnitState
from units.memory_cloud import MemoryRecords, MemoryVolumes
from units.memory_etcd import MemoryEtcdStorage
from units.memory_files import MemoryFiles
from units.memory_node import MemoryNodeApi, MemoryRuntime

__all__ = [
    "MemoryAssets",
    "MemoryClock",
    "MemoryFiles",
    "MemoryHost",
    "MemoryImages",
    "MemoryIssuer",
    "MemoryKernel",
    "MemoryMounts",
    "MemoryProbes",
    "MemoryRecords",
    "MemorySecrets",
    "MemorySystemd",
    "MemoryUsers",
    "MemoryVolumes",
    "acted_on",
]

_DAY = timedelta(days=1)
_UNITS = "/etc/systemd/system/"


def acted_on(unit_text: str) -> tuple[tuple[tuple[str, str], ...], str]:
    """All of a unit's text that this systemd looks at: directives that must hold, and etcd's data directory."""
    needs = re.findall(r"^(AssertPath\w+|EnvironmentFile)=(.+)$", unit_text, re.MULTILINE)
    data = re.search(r"--data-dir=(\S+)", unit_text)
    return tuple(needs), data[1] if data else ""


@dataclass
class MemorySystemd:
    """Units of ours come from /etc/systemd/system as of the last daemon-reload; others come with the image."""

    files: MemoryFiles
    active: set[str] = field(default_factory=set)
    enabled: set[str] = field(default_factory=set)
    restarts: list[str] = field(default_factory=list)
    reboots: int = 0  # asked for
    loaded: dict[str, str] = field(default_factory=dict)  # unit -> its text as systemd knows it
    running: dict[str, str] = field(default_factory=dict)  # unit -> the text it was started with
    distribution: frozenset[str] = frozenset(
        {"containerd.service", "bootwright-issuer.socket", "bootwright-etcd-backup.timer"}
    )

    def state(self, unit: str) -> UnitState:
        stale = unit in self.loaded and self.loaded[unit] != self._on_disk(unit)
        return UnitState(unit in self.enabled, "active" if unit in self.active else "inactive", stale)

    def reload_daemon(self) -> None:
        self.loaded = {unit: text for unit in self.loaded if (text := self._on_disk(unit)) is not None}

    def enable(self, unit: str) -> None:
        self.enabled.add(unit)

    def start(self, unit: str) -> None:
        if unit not in self.active:
            self._run(unit)

    def restart(self, unit: str) -> None:
        self.restarts.append(unit)
        self._run(unit)

    def stop(self, unit: str) -> None:
        self.active.discard(unit)

    def reboot(self) -> None:
        self.reboots += 1

    def _on_disk(self, unit: str) -> str | None:
        state = self.files.read(_UNITS + unit)
        return state.content.decode() if state and state.content is not None else None

    def _run(self, unit: str) -> None:
        if unit not in self.loaded and (found := self._on_disk(unit)) is not None:
            self.loaded[unit] = found
        text = self.loaded.get(unit)
        if text is None and unit not in self.distribution:
            raise Fatal("unit-broken", f"{unit}: no unit file")
        text = text or ""
        needs, data = acted_on(text)
        for directive, path in needs:
            there = path in self.files.mounted if directive == "AssertPathIsMountPoint" else self.files.read(path)
            if not there:
                raise Retryable("unit-not-started", f"{unit}: {directive}={path} does not hold")
        if data:
            self._leave_log(data)
        self.active.add(unit)
        self.running[unit] = text

    def _leave_log(self, data: str) -> None:
        """What a started etcd does to an empty data directory."""
        if not self.files.list(f"{data}/member/wal"):
            self.files.write(f"{data}/member/wal/0-0.wal", b"", mode=0o600, owner="etcd", group="etcd")


@dataclass
class MemoryMounts:
    files: MemoryFiles
    volumes: MemoryVolumes
    mounts: dict[str, MountState] = field(default_factory=dict)

    def mounted(self, path: str) -> MountState | None:
        return self.mounts.get(path)

    def mount(self, device: str, path: str, *, fstype: str, options: tuple[str, ...]) -> None:
        if self.files.read(path) is None:
            raise Fatal("mount-failed", f"cannot mount {device}: {path} does not exist")
        self.files.mounted[path] = self.volumes.file_system(device)
        self.mounts[path] = MountState(device, fstype, options)

    def remount(self, path: str, *, options: tuple[str, ...]) -> None:
        self.mounts[path] = replace(self.mounts[path], options=options)

    def protect(self, path: str) -> None:
        if self.files.list(path):
            raise Fatal("mount-point-not-empty", f"{path} should be an empty mount point")
        self.files.protected.add(path)


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
class MemorySecrets:
    """Signs with the authorities it is given: the previews' throw-away ones, or a test's."""

    authorities: dict[AuthorityName, Authority]
    keys: dict[str, PrivateKeyPem]
    now: datetime

    def open(self, name: str) -> bytes:
        return self.keys[name].pem

    def issue(self, request: CertificateRequest, public_key_pem: bytes) -> bytes:
        return self.authorities[request.authority].issue(request, load_public_key(public_key_pem), self.now)


@dataclass
class MemoryIssuer:
    """Issues what it is asked for, for a day: the real one makes the same names of what EC2 says."""

    secrets: MemorySecrets
    asked: list[tuple[tuple[str, ...], bool]] = field(default_factory=list)  # profiles, and whether it was a renewal

    def issue(self, csrs: Mapping[str, bytes], credential: bytes | None) -> Mapping[str, bytes]:
        self.asked.append((tuple(csrs), credential is not None))
        authority = self.secrets.authorities["kubernetes"]
        return {
            profile: authority.issue(asked_for(profile, csr, _DAY), csr_public_key(csr), self.secrets.now)
            for profile, csr in csrs.items()
        }


@dataclass
class MemoryAssets:
    def obtain(self, sha256: str, size: int) -> str:
        del size
        return f"/opt/bootwright/assets/sha256/{sha256[:2]}/{sha256}"


@dataclass
class MemoryImages:
    loaded: dict[str, str] = field(default_factory=dict)  # reference -> the archive's sha256

    def held(self, reference: str) -> HeldImage | None:
        archive = self.loaded.get(reference)
        return None if archive is None else HeldImage(f"sha256:{archive}", archive)

    def load(self, archive: str, sha256: str, reference: str) -> None:
        del archive
        self.loaded[reference] = sha256


@dataclass
class MemoryProbes:
    """kubelet is healthy as long as it runs, everything else as long as an etcd does."""

    systemd: MemorySystemd

    def get(self, url: str) -> Answer | None:
        if url == KUBELET_HEALTH:
            return Answer(200, "ok") if "kubelet.service" in self.systemd.active else None
        runs = any(unit.startswith("bootwright-etcd-") and unit.endswith(".service") for unit in self.systemd.active)
        return Answer(200, "ok") if runs else None


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
    assets: MemoryAssets = field(default_factory=MemoryAssets)
    images: MemoryImages = field(default_factory=MemoryImages)
    records: MemoryRecords = field(default_factory=MemoryRecords)
    etcd: EtcdAccess = field(default_factory=NoEtcd)
    systemd: MemorySystemd = field(init=False)
    etcd_storage: EtcdStorage = field(init=False)
    issuer: MemoryIssuer = field(init=False)
    mounts: MemoryMounts = field(init=False)
    probes: MemoryProbes = field(init=False)
    runtime: MemoryRuntime = field(init=False)
    node_api: MemoryNodeApi = field(init=False)

    def __post_init__(self) -> None:
        self.systemd = MemorySystemd(self.files)
        self.etcd_storage = MemoryEtcdStorage(self.files)
        self.issuer = MemoryIssuer(self.secrets)
        self.mounts = MemoryMounts(self.files, self.volumes)
        self.probes = MemoryProbes(self.systemd)
        self.runtime = MemoryRuntime(self.files, self.systemd)
        self.node_api = MemoryNodeApi(self.systemd, self.clock)

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
            issuer=self.issuer,
            assets=self.assets,
            images=self.images,
            records=self.records,
            probes=self.probes,
            clock=self.clock,
            etcd=self.etcd,
            etcd_storage=self.etcd_storage,
            runtime=self.runtime,
            node_api=self.node_api,
        )
