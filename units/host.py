"""The machine as resources see it: one Protocol per outside thing. `agent.linux` and `agent.aws` implement them for
real, `units.memory` in memory. Every method raises only `units.errors`; none decides anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from pki.request import CertificateRequest
from units.etcd_members import EtcdAccess, NoEtcd
from units.etcd_restore import EtcdStorage, NoEtcdStorage
from units.evidence import DeviceEvidence
from units.node_api import NodeApi, NoNodeApi
from units.runtime import NoRuntime, Runtime
from units.verifier import NoVerifier, Verifier


@dataclass(frozen=True, slots=True)
class FileState:
    """What lies at a path. `content` is None for anything but a regular file; `target` only for a symlink."""

    kind: Literal["file", "directory", "symlink", "other"]
    mode: int  # permission bits only
    owner: str  # user name, or the number as text where no name exists
    group: str
    content: bytes | None = field(default=None, repr=False)
    target: str | None = None


class Files(Protocol):
    """Paths are absolute as the node sees them; a sandbox puts its root in front."""

    def read(self, path: str) -> FileState | None:
        """What lies there, without following a symlink; None if nothing does."""

    def digest(self, path: str) -> str | None:
        """Hex sha256 of a regular file's content, read in chunks; None if there is none."""

    def write(self, path: str, content: bytes, *, mode: int, owner: str, group: str) -> None:
        """Atomically and durably: hidden temporary beside it with its mode set first, fsync, rename, fsync dir."""

    def set_attributes(self, path: str, *, mode: int, owner: str, group: str) -> None: ...

    def make_directory(self, path: str, *, mode: int, owner: str, group: str) -> None:
        """With parents (0755 root root)."""

    def symlink(self, path: str, target: str) -> None:
        """Replaced atomically."""

    def install(self, source: str, path: str, *, mode: int) -> None:
        """Copy a large file into place, atomically and durably, root-owned."""

    def remove(self, path: str) -> None:
        """A file or symlink, and what a write of it that was cut off left; nothing happens if it is gone already."""

    def sweep(self, path: str) -> None:
        """Remove what writes that were cut off left in a directory: in one that a single process writes to."""

    def list(self, path: str) -> Sequence[str]:
        """Names in a directory, sorted; empty if there is none."""


@dataclass(frozen=True, slots=True)
class UnitState:
    enabled: bool
    active: Literal["active", "activating", "inactive", "failed", "deactivating", "reloading"]
    need_daemon_reload: bool = False


class Systemd(Protocol):
    def state(self, unit: str) -> UnitState: ...

    def reload_daemon(self) -> None: ...

    def enable(self, unit: str) -> None: ...

    def start(self, unit: str) -> None:
        """Start it and wait, bounded, until systemd says it is up; Retryable with the unit's last lines if not."""

    def restart(self, unit: str) -> None: ...

    def stop(self, unit: str) -> None: ...

    def reboot(self) -> None:
        """Asks for it and returns: what runs is ended in order, this process with it."""


class Kernel(Protocol):
    def sysctl(self, name: str) -> str | None:
        """The value with white space normalised to single spaces; None if this kernel has no such key."""

    def set_sysctl(self, name: str, value: str) -> None: ...

    def module_loaded(self, name: str) -> bool:
        """Loaded or built in."""

    def load_module(self, name: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    uid: int
    gid: int
    home: str
    shell: str


class Users(Protocol):
    def account(self, name: str) -> Account | None: ...

    def create(self, account: Account) -> None:
        """A system user with a group of the same name and number."""


@dataclass(frozen=True, slots=True)
class VolumeClaim:
    """What an etcd member needs: a volume in this zone, tagged `k8s.io/etcd/ETCD = MEMBER/ALL,MEMBERS`."""

    cluster: str
    etcd: str
    members: tuple[str, ...]  # all members, sorted as in the tag
    candidates: tuple[str, ...]  # the members that this node's group may carry, in order of preference
    minimum_bytes: int


@dataclass(frozen=True, slots=True)
class HeldVolume:
    """A volume attached to this machine, with its device found by serial number."""

    volume_id: str
    member: str
    device: str  # /dev/nvme1n1; valid until the next boot only


class Volumes(Protocol):
    def held(self, claim: VolumeClaim) -> HeldVolume | None:
        """The volume of this claim if it is attached here already; may ask EC2 only if the machine cannot know."""

    def attach(self, claim: VolumeClaim) -> HeldVolume:
        """Choose (units.volumes.choose), attach, wait. Retryable names what it waits for; never force-detaches."""

    def evidence(self, volume: HeldVolume) -> DeviceEvidence:
        """Everything `units.volumes.decide` needs to know before a format or a mount. Only reads."""

    def record_intent(self, volume: HeldVolume, uuid: str) -> None:
        """Durable outside the volume (EC2 tag `bootwright.io/format-intent`) before mkfs touches the device."""

    def format(self, volume: HeldVolume, uuid: str, label: str) -> None:
        """mkfs.ext4 with exactly this UUID; opens the device exclusively and checks its serial once more."""

    def record_formatted(self, volume: HeldVolume, uuid: str) -> None:
        """Tag `bootwright.io/formatted`, then drop the intent."""

    def repair(self, volume: HeldVolume) -> None:
        """`e2fsck -p` before a mount; Refused when a person must decide."""

    def outgrown(self, volume: HeldVolume) -> bool:
        """Whether the device is larger than its file system by more than a rounding: the volume was modified."""

    def grow(self, volume: HeldVolume) -> None:
        """resize2fs to the device's size, while mounted; a no-op when it fits."""


@dataclass(frozen=True, slots=True)
class MountState:
    source: str
    fstype: str
    options: tuple[str, ...]


class Mounts(Protocol):
    def mounted(self, path: str) -> MountState | None: ...

    def mount(self, device: str, path: str, *, fstype: str, options: tuple[str, ...]) -> None: ...

    def remount(self, path: str, *, options: tuple[str, ...]) -> None:
        """Of what is mounted there, the flags of the mount; its super block, and whether it is read-only, stay."""

    def protect(self, path: str) -> None:
        """Make the empty, unmounted mount point immutable (chattr +i): nothing lands on the root disk by mistake."""


class Secrets(Protocol):
    """Opens envelopes from S3 (KMS, or a local key) and signs with what is inside. Plain text stays in memory."""

    def open(self, name: str) -> bytes:
        """The plain text of `secrets/control-plane/NAME.json`."""

    def issue(self, request: CertificateRequest, public_key_pem: bytes) -> bytes:
        """The PEM certificate, signed by the authority that the request's profile names."""


class Issuer(Protocol):
    """The cluster's issuer, as a machine sees it that holds no CA key."""

    def issue(self, csrs: Mapping[str, bytes], credential: bytes | None) -> Mapping[str, bytes]:
        """Profile name -> PEM CSR; the answer: profile name -> PEM certificate.

        `credential` is a combined PEM that the issuer still accepts: a renewal over mutual TLS. Without one the machine
        proves which instance it is. Retryable `issuer-unreachable`, `sts-unreachable`, ...; Refused with the reason's
        own code where the issuer tells it to a proven machine, else `issuer-refused`.
        """


class Assets(Protocol):
    def obtain(self, sha256: str, size: int) -> str:
        """Path of a local file with exactly this content: baked into the image, or fetched once and checked."""


@dataclass(frozen=True, slots=True)
class HeldImage:
    """What a name leads to in containerd, kept from kubelet's garbage collection."""

    target: str  # sha256:... of its manifest or index
    archive: str  # sha256 of the archive that this very target was loaded from; "" if nobody knows


class Images(Protocol):
    """containerd's image store, namespace k8s.io."""

    def held(self, reference: str) -> HeldImage | None: ...

    def load(self, archive: str, sha256: str, reference: str) -> None:
        """Import the file `archive`, whose sha256 was checked, and pin; Fatal if it does not hold `reference`."""


@dataclass(frozen=True, slots=True)
class Record:
    content: bytes
    etag: str


class Records(Protocol):
    """Small shared objects in S3 with compare-and-swap: etcd's bootstrap record."""

    def get(self, key: str) -> Record | None: ...

    def create(self, key: str, content: bytes) -> bool:
        """If-None-Match: `*`. False if somebody else was first."""

    def replace(self, key: str, content: bytes, etag: str) -> bool:
        """If-Match. False if it changed meanwhile."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: str  # at most 4 kB of it


class Probes(Protocol):
    """Health endpoints of this machine, on loopback only."""

    def get(self, url: str) -> Answer | None:
        """None if nothing answers within two seconds. HTTPS is not verified: it is our own loopback."""


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware, UTC."""

    def monotonic(self) -> float:
        """Seconds; only differences mean anything."""

    def wait(self, seconds: float, reason: str) -> None:
        """Sleep, and show `reason` wherever a person looks meanwhile (status, console, sd_notify)."""


@dataclass(frozen=True, slots=True)
class Host:
    """A machine: every port that a resource may use."""

    files: Files
    systemd: Systemd
    kernel: Kernel
    users: Users
    volumes: Volumes
    mounts: Mounts
    secrets: Secrets
    issuer: Issuer
    assets: Assets
    images: Images
    records: Records
    probes: Probes
    clock: Clock
    etcd: EtcdAccess = field(default_factory=NoEtcd)
    etcd_storage: EtcdStorage = field(default_factory=NoEtcdStorage)
    verifier: Verifier = field(default_factory=NoVerifier)
    runtime: Runtime = field(default_factory=NoRuntime)
    node_api: NodeApi = field(default_factory=NoNodeApi)
