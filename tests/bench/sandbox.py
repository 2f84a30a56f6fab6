"""A node in a directory: real files, repository, secrets, assets, IMDS and S3 clients; doubles for the kernel's side.

systemd, kernel, users, volumes, mounts, images and probes are the models of `units.memory`, and last from one process
to the next in `doubles.pickle`. What they stand for costs a real node processes and kernel calls, which is why they are
counted here (`SandboxNode.calls`).
"""

import collections
import json
import pickle
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from agent import settings as enrolment
from agent.aws.imds import Imds
from agent.certificates import list_certificates
from agent.issuer_client import IssuerClient
from agent.linux.assets import LocalAssets, wanted_of
from agent.linux.files import LinuxFiles
from agent.linux.machine import MachineFacts, gather_machine
from agent.node import RealNode
from agent.records import S3Records
from agent.repository import Repository
from agent.run_state import write_status
from agent.settings import Settings
from units.generations import Generations
from units.host import Host
from units.manifest import Manifest
from units.memory import (
    MemoryImages,
    MemoryKernel,
    MemoryMounts,
    MemoryProbes,
    MemorySystemd,
    MemoryUsers,
    MemoryVolumes,
)
from units.memory_etcd import MemoryEtcdStorage
from units.paths import PKI
from units.status import CertificateState, NodeStatus

PORTS = ("systemd", "kernel", "users", "volumes", "mounts", "images", "probes")
_MACHINE_FILES = {
    "proc/meminfo": "MemTotal:        8000000 kB\n",
    "proc/sys/kernel/osrelease": f"{platform.release()}\n",
    "opt/bootwright/image.json": json.dumps({"containerd": "2.3.4", "etcd": "3.6.14"}),
    "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
    "etc/resolv.conf": "nameserver 10.96.0.2\n",
}


@dataclass(frozen=True, slots=True)
class Places:
    """Where the node's own state lies below a sandbox root."""

    root: Path

    def below(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    @property
    def enrolment(self) -> Path:
        return self.below("/etc/bootwright/agent.json")

    @property
    def trust(self) -> Path:
        return self.below("/var/lib/bootwright/trust")

    @property
    def baked_root(self) -> Path:
        return self.below("/usr/share/bootwright/trust/root.json")

    @property
    def status(self) -> Path:
        return self.below("/run/bootwright/status.json")

    @property
    def doubles(self) -> Path:
        return self.root.with_name(f"{self.root.name}.doubles.pickle")


def bake(root: Path, assets: Sequence[Path], sha256s: Sequence[str]) -> None:
    """An image's root directory with the assets in it; reflinks nothing, so that each sandbox is its own."""
    for name, text in _MACHINE_FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for source, sha256 in zip(assets, sha256s, strict=True):
        path = root / "opt/bootwright/assets/sha256" / sha256[:2] / sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)


def reboot(root: Path) -> None:
    """What lay in memory is gone: /run, and whatever ran. Mounts stay: below this root nothing was really mounted."""
    places = Places(root)
    shutil.rmtree(places.below("/run"))
    doubles = load_doubles(places)
    doubles.systemd_state = {"active": {"containerd.service"}}
    save_doubles(places, doubles)


@dataclass
class DoublesState:
    """What the doubles remember between processes."""

    systemd_state: dict[str, Any] = field(default_factory=lambda: {"active": {"containerd.service"}})
    ports: dict[str, dict[str, Any]] = field(default_factory=dict)
    mounted: dict[str, Any] = field(default_factory=dict)
    protected: set[str] = field(default_factory=set)


def load_doubles(places: Places) -> DoublesState:
    if not places.doubles.exists():
        return DoublesState()
    state: DoublesState = pickle.loads(places.doubles.read_bytes())
    return state


def save_doubles(places: Places, state: DoublesState) -> None:
    places.doubles.write_bytes(pickle.dumps(state))


class SandboxFiles(LinuxFiles):
    """The real files below a root. The doubles of mounts and systemd also ask what is mounted."""

    def __init__(self, root: Path, state: DoublesState) -> None:
        super().__init__(root, own=False)
        self.mounted = state.mounted
        self.protected = state.protected


class Counted:
    """A port that counts its calls."""

    def __init__(self, name: str, port: Any, calls: "collections.Counter[str]") -> None:
        self._name, self._port, self._calls = name, port, calls

    def __getattr__(self, method: str) -> Any:
        self._calls[f"{self._name}.{method}"] += 1
        return getattr(self._port, method)


class SandboxNode(RealNode):
    """`RealNode` below a root directory, with doubles for what a directory cannot be."""

    def __init__(self, root: Path, imds_url: str, status: NodeStatus | None = None) -> None:
        self.places = Places(root)
        super().__init__(status)
        self._imds = Imds(imds_url, waits=self._waits)
        self.reporter.write_local = lambda status: write_status(status, self.places.status)
        self.calls: collections.Counter[str] = collections.Counter()
        self._state = load_doubles(self.places)
        self._ports: dict[str, Any] = {}

    def machine(self) -> MachineFacts:
        return gather_machine(self.places.root)

    def enrolment(self) -> Settings:
        return enrolment.find(self._imds.user_data, self.places.enrolment)

    def host(self, manifest: Manifest) -> Host:
        settings, s3, _instance = self._connected()
        files = SandboxFiles(self.places.root, self._state)
        self._ports = self._doubles(files)

        def download(key: str, file: IO[bytes], size: int) -> str:
            return s3.sibling().get_to_file(settings.prefix + key, file, size=size)

        return Host(
            files=files,
            secrets=self._secrets(manifest),
            issuer=IssuerClient(manifest, self._imds),
            assets=LocalAssets(download, wanted=wanted_of(manifest), root=self.places.root),
            records=S3Records(s3, settings.prefix),
            clock=self._clock,
            **{name: Counted(name, port, self.calls) for name, port in self._ports.items()},
        )

    def certificates(self, jitter_key: str) -> tuple[CertificateState, ...]:
        return list_certificates(self._clock.now(), jitter_key, str(self.places.below(PKI)))

    def save(self) -> None:
        """Keep what the doubles know for the next process."""
        systemd = self._ports["systemd"]
        self._state.systemd_state = {name: getattr(systemd, name) for name in ("active", "loaded", "running")}
        self._state.ports = {
            name: {key: value for key, value in vars(self._ports[name]).items() if key not in ("files", "volumes")}
            for name in PORTS
            if name not in ("systemd", "probes")
        }
        save_doubles(self.places, self._state)

    def _doubles(self, files: Any) -> dict[str, Any]:
        kept = self._state.ports
        volumes = MemoryVolumes(**kept.get("volumes", {}))
        systemd = MemorySystemd(files, **self._state.systemd_state)
        return {
            "systemd": systemd,
            "etcd_storage": MemoryEtcdStorage(files),
            "kernel": MemoryKernel(**kept.get("kernel", {})),
            "users": MemoryUsers(**kept.get("users", {})),
            "volumes": volumes,
            "mounts": MemoryMounts(files, volumes, **kept.get("mounts", {})),
            "images": MemoryImages(**kept.get("images", {})),
            "probes": MemoryProbes(systemd),
        }

    def _generations(self) -> Generations:
        return Generations(SandboxFiles(self.places.root, self._state))

    def _repository(self) -> Repository:
        settings, s3, _instance = self._connected()
        return Repository(
            settings,
            s3,
            clock=self._clock,
            waits=self._waits,
            state_dir=self.places.trust,
            baked_root=self.places.baked_root,
        )
