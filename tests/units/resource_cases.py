"""One resource of every kind, and everything that may happen to it behind our back."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from pki.request import CertificateRequest
from tests.units.machines import authorities, empty_machine, service_account
from units.accounts import User
from units.bootstrap_record import BootstrapRecord, RestoreFrom
from units.content import InstalledAsset, LoadedImage
from units.credentials import Certificate, SecretFile, kubeconfig
from units.etcd_generation import EtcdGeneration, EtcdRestore, HeldBackPods, hold_back
from units.etcd_peers import EtcdPeers
from units.etcd_reserve import EtcdReserve
from units.etcd_restore import DATA, MARK, Identity
from units.etcd_upgrade import IMAGE as IMAGE_RECORD
from units.etcd_upgrade import EtcdUpgrade, EtcdVersionNote
from units.files import Directory, File, Symlink
from units.host import Record, VolumeClaim
from units.hosts import HostsBlock
from units.kernel import KernelModule, Sysctl
from units.manifest import Asset, Image
from units.membership import EtcdBegun, EtcdBootstrap, EtcdEstablished
from units.memory import MemoryHost
from units.memory_etcd import MemoryEtcdStorage
from units.node_certificates import Leaf, NodeCertificates
from units.peer_names import PeerNames, PeerRecord
from units.pods import HostPath, Probe, StaticPod
from units.resource import Resource
from units.storage import Mount, Volume
from units.systemd import Unit

Act = Callable[[MemoryHost], None]
SECRET_TEXT = "hunter2-hunter2"
CLAIM = VolumeClaim("prod.example.com", "main", ("a",), ("a",), 20 * 1024**3)
MOUNT = "/var/lib/etcd/main"
ENVIRONMENT = "/run/bootwright/etcd-main.env"
KUBERNETES_CA = authorities()["kubernetes"].certificate.pem.decode()
RESTORE = EtcdRestore(
    CLAIM,
    MOUNT,
    "bootwright-etcd-main.service",
    Identity("a", "https://a.etcd:2380", "a=https://a.etcd:2380"),
    "https://192.0.2.10:6443/livez",
)
POD = StaticPod(
    name="kube-scheduler",
    image="registry.k8s.io/kube-scheduler:v1.36.2",
    command="kube-scheduler",
    arguments={"leader-elect": "true"},
    cpu="100m",
    liveness=Probe("/livez", 10259),
    startup=Probe("/livez", 10259),
    mounts=(HostPath("/etc/kubernetes/kube-scheduler"),),
)
SECRET = SecretFile("/run/bootwright/secrets/ca.key", "authority-kubernetes", KUBERNETES_CA)
CERTIFICATE = Certificate(
    "/etc/kubernetes/pki/kubelet/client.pem",
    CertificateRequest(profile="kubelet-client", name="i-1"),
    KUBERNETES_CA,
    "i-1",
    owner="etcd",
    group="etcd",
)
LEAVES = NodeCertificates(
    (
        Leaf("/etc/kubernetes/pki/kubelet/client.pem", CertificateRequest(profile="kubelet-client", name="i-1")),
        Leaf(
            "/etc/kubernetes/pki/kubelet/server.pem",
            CertificateRequest(profile="kubelet-server", name="i-1", ip_addresses=("192.0.2.10",)),
        ),
    ),
    KUBERNETES_CA,
    KUBERNETES_CA,
    "i-1",
)
ASSET = InstalledAsset(Asset(name="kubelet", sha256="a" * 64, size=84_000_000, path="/usr/local/bin/kubelet"))
PAUSE = "registry.k8s.io/pause:3.10.2"
IMAGE = LoadedImage(Image(reference=PAUSE, sha256="b" * 64, size=300_000))
PEERS = EtcdPeers(CLAIM, PeerNames("main", (("b", "b.etcd-main.internal.prod.example.com"),)), "i-a", "10.99.0.10")
UNIT = Unit("kubelet.service", "[Service]\nExecStart=/usr/local/bin/kubelet\n", reads="one")


def attributes(path: str, **changes: object) -> Act:
    def drift(machine: MemoryHost) -> None:
        machine.files.entries[path] = dataclasses.replace(machine.files.entries[path], **changes)

    return drift


def content(path: str, changed: bytes) -> Act:
    return attributes(path, content=changed)


def gone(path: str) -> Act:
    return lambda machine: machine.files.remove(path)


def every_attribute(path: str, *, mode: int = 0o777) -> dict[str, Act]:
    return {
        "its mode": attributes(path, mode=mode),
        "its owner": attributes(path, owner="nobody"),
        "its group": attributes(path, group="nogroup"),
        "it is gone": gone(path),
    }


def replaced_by_a_symlink(path: str) -> Act:
    return lambda machine: machine.files.symlink(path, "/etc/shadow")


def mounted(machine: MemoryHost) -> None:
    for resource in (Volume(CLAIM, MOUNT), Mount(CLAIM, MOUNT)):
        resource.apply(machine.host)


def bootstrapped(machine: MemoryHost) -> None:
    mounted(machine)
    EtcdBootstrap(CLAIM, MOUNT, ENVIRONMENT, "token", "i-1").apply(machine.host)
    machine.systemd.active.add("bootwright-etcd-main.service")


def remounted(*options: str) -> Act:
    return lambda machine: machine.mounts.remount(MOUNT, options=options)


def outgrown(machine: MemoryHost) -> None:
    (held,) = machine.volumes.attached.values()
    machine.volumes.grown[held.volume_id] = machine.volumes.sizes[held.volume_id]
    machine.volumes.sizes[held.volume_id] *= 2


def full(machine: MemoryHost) -> None:
    assert isinstance(machine.etcd_storage, MemoryEtcdStorage)
    machine.etcd_storage.unreserved_bytes = 256 * 1024**2


def serving(machine: MemoryHost) -> None:
    bootstrapped(machine)
    machine.files.write(f"{MOUNT}/data/member/wal/0-0.wal", b"", mode=0o600, owner="etcd", group="etcd")


def let_in_while_waiting(machine: MemoryHost) -> None:
    bootstrapped(machine)
    machine.clock.wait = lambda _seconds, _reason: serving(machine)  # type: ignore[method-assign]


def stopped_pods(machine: MemoryHost) -> None:
    machine.files.write("/etc/kubernetes/manifests/kube-apiserver.yaml", b"{}", mode=0o600, owner="root", group="root")
    hold_back(machine.host)


def baked(machine: MemoryHost) -> None:
    serving(machine)
    machine.files.write(IMAGE_RECORD, b'{"etcd": "3.5.16-4"}', mode=0o644, owner="root", group="root")


def restorable(machine: MemoryHost) -> None:
    """Two generations old data on the volume, and a record that begins another from a backup."""
    mounted(machine)
    machine.files.make_directory(f"{MOUNT}/{DATA}", mode=0o700, owner="etcd", group="etcd")
    machine.files.make_directory(f"{MOUNT}/{DATA}/member", mode=0o700, owner="etcd", group="etcd")
    machine.files.write(f"{MOUNT}/{DATA}/member/wal/0-0.wal", b"old", mode=0o600, owner="etcd", group="etcd")
    record = BootstrapRecord(
        state="restoring",
        generation=3,
        token="token-g3",
        volumes={},
        created_by="operator",
        restore=RestoreFrom(backup="2026-01-01T00:00:00Z-7", sha256="0" * 64, size=1056, revision=7),
    )
    machine.records.create("etcd/main/cluster.json", record.encode())


def older_data(machine: MemoryHost) -> None:
    machine.files.write(f"{MOUNT}/{DATA}/{MARK}", b'{"generation": 2}', mode=0o600, owner="etcd", group="etcd")


@dataclass(frozen=True)
class Case:
    resource: Resource
    drifts: dict[str, Act]
    before: Act = lambda machine: None


CASES: dict[str, Case] = {
    "directory": Case(
        Directory("/etc/kubernetes/pki", mode=0o700, owner="etcd", group="etcd"), every_attribute("/etc/kubernetes/pki")
    ),
    "file": Case(
        File("/etc/motd", "welcome\n", mode=0o640),
        {
            **every_attribute("/etc/motd"),
            "its content": content("/etc/motd", b"owned\n"),
            "a symlink lies there": replaced_by_a_symlink("/etc/motd"),
            "it grew too large to compare": attributes("/etc/motd", content=None),
        },
    ),
    "binary file": Case(
        File("/etc/blob", "AP8=", encoding="base64"), {"its content": content("/etc/blob", b"\x00\xfe")}
    ),
    "secret file": Case(
        File("/etc/secret", SECRET_TEXT, mode=0o600, secret=True),
        {**every_attribute("/etc/secret"), "its content": content("/etc/secret", b"other " + SECRET_TEXT.encode())},
    ),
    "kubeconfig": Case(
        kubeconfig("/etc/kubernetes/kubelet.conf", server="https://x", authority="/a", credential="/c", user="u"),
        every_attribute("/etc/kubernetes/kubelet.conf"),
    ),
    "symlink": Case(
        Symlink("/etc/link", "/etc/target"),
        {
            "its target": lambda machine: machine.files.symlink("/etc/link", "/etc/shadow"),
            "a file lies there": lambda machine: machine.files.write(
                "/etc/link", b"", mode=0o644, owner="root", group="root"
            ),
            "it is gone": gone("/etc/link"),
        },
    ),
    "hosts block": Case(
        HostsBlock("cluster", (("192.0.2.10", ("a.etcd", "b.etcd")),)),
        {"its content": content("/etc/hosts", b"127.0.0.1 localhost\n"), "it is gone": gone("/etc/hosts")},
    ),
    "user": Case(User("etcd", 2379), {"it is gone": lambda machine: machine.users.accounts.clear()}),
    "sysctl": Case(
        Sysctl("kernel.panic", "10"), {"its value": lambda machine: machine.kernel.set_sysctl("kernel.panic", "0")}
    ),
    "kernel module": Case(KernelModule("overlay"), {"unloaded": lambda machine: machine.kernel.modules.clear()}),
    "asset": Case(
        ASSET,
        {
            **every_attribute("/usr/local/bin/kubelet", mode=0o644),
            "its content": lambda machine: machine.files.assets.update({"/usr/local/bin/kubelet": "c" * 64}),
            "a small file lies there": lambda machine: machine.files.write(
                "/usr/local/bin/kubelet", b"#!/bin/sh\n", mode=0o755, owner="root", group="root"
            ),
        },
    ),
    "image": Case(
        IMAGE,
        {
            "not in containerd": lambda machine: machine.images.loaded.clear(),
            "loaded from another archive": lambda machine: machine.images.loaded.update({PAUSE: "c" * 64}),
            "nobody knows from what": lambda machine: machine.images.loaded.update({PAUSE: ""}),
        },
    ),
    "static pod": Case(
        POD,
        {
            **every_attribute(POD.path),
            "an argument": content(POD.path, b"apiVersion: v1\nkind: Pod\n"),
            "a symlink lies there": replaced_by_a_symlink(POD.path),
        },
    ),
    "unit": Case(
        UNIT,
        {
            **every_attribute("/etc/systemd/system/kubelet.service"),
            "its content": content("/etc/systemd/system/kubelet.service", b"[Service]\nExecStart=/bin/evil\n"),
            "stopped": lambda machine: machine.systemd.stop("kubelet.service"),
            "started with other inputs": content("/run/bootwright/started/kubelet.service", b"0" * 64),
            "a reboot": gone("/run/bootwright/started/kubelet.service"),
        },
    ),
    "certificate": Case(
        CERTIFICATE,
        {
            **every_attribute(CERTIFICATE.path),
            "half written": lambda machine: content(
                CERTIFICATE.path, (machine.files.entries[CERTIFICATE.path].content or b"")[:400]
            )(machine),
            "a symlink lies there": replaced_by_a_symlink(CERTIFICATE.path),
        },
    ),
    "certificates of a node": Case(
        LEAVES,
        {
            **every_attribute(LEAVES.leaves[0].path),
            "one of the others is gone": gone(LEAVES.leaves[1].path),
            "half written": lambda machine: content(
                LEAVES.leaves[0].path, (machine.files.entries[LEAVES.leaves[0].path].content or b"")[:400]
            )(machine),
        },
    ),
    "secret": Case(
        SECRET,
        {
            **every_attribute(SECRET.path),
            "another key": content(SECRET.path, service_account().pem),
            "no key": content(SECRET.path, b"garbage"),
        },
    ),
    "volume": Case(
        Volume(CLAIM, MOUNT),
        {
            "detached": lambda machine: machine.volumes.attached.clear(),
            "the record of its format is missing": lambda machine: machine.volumes.recorded.clear(),
        },
    ),
    "mount": Case(
        Mount(CLAIM, MOUNT),
        {
            "not mounted": lambda machine: (machine.mounts.mounts.clear(), machine.files.mounted.clear())[0],
            "no marker": lambda machine: machine.files.remove(f"{MOUNT}/.etcd-volume.json"),
            "the volume was modified to be larger": outgrown,
            "mounted by hand without options": remounted("rw", "relatime"),
            "mounted with all options but one": remounted("rw", "noatime", "nodev", "noexec"),
        },
        before=lambda machine: Volume(CLAIM, MOUNT).apply(machine.host),
    ),
    "etcd reserve": Case(
        EtcdReserve("main", MOUNT),
        {"the reserve is gone": gone(f"{MOUNT}/.reserve"), "the volume is full": full},
        before=mounted,
    ),
    "etcd bootstrap": Case(
        EtcdBootstrap(CLAIM, MOUNT, ENVIRONMENT, "token", "i-1"),
        {
            "the grant is gone": gone(ENVIRONMENT),
            "the grant was edited": content(ENVIRONMENT, b"INITIAL_CLUSTER_STATE=existing\n"),
            "the record is gone": lambda machine: machine.records.objects.clear(),
            "the attempt is not marked": lambda machine: machine.files.remove(f"{MOUNT}/.bootstrap.json"),
        },
        before=mounted,
    ),
    "etcd restore": Case(
        RESTORE,
        {"the volume holds older data": older_data},
        before=restorable,
    ),
    "held back pods": Case(HeldBackPods(), {"a restore has stopped them": stopped_pods}, before=stopped_pods),
    "etcd upgrade": Case(
        EtcdUpgrade("main", MOUNT),
        {"a reboot": lambda machine: machine.files.remove("/run/bootwright/etcd-main.version")},
        before=baked,
    ),
    "etcd version note": Case(
        EtcdVersionNote("main", MOUNT),
        {"the note is gone": lambda machine: machine.files.remove(f"{MOUNT}/.etcd-version")},
        before=baked,
    ),
    "etcd generation": Case(
        EtcdGeneration(CLAIM, MOUNT, ("https://127.0.0.1:2379",)),
        {
            "the note is gone": lambda machine: machine.files.remove(f"{MOUNT}/.generation"),
            "the note was edited": lambda machine: machine.files.write(
                f"{MOUNT}/.generation", b"another\n", mode=0o644, owner="root", group="root"
            ),
        },
        before=serving,
    ),
    "etcd begun": Case(EtcdBegun(CLAIM, MOUNT, ENVIRONMENT), {}, before=let_in_while_waiting),
    "etcd peers": Case(
        PEERS,
        {
            "the note is gone": gone("/run/bootwright/etcd-peers-main.json"),
            "its place is not told": lambda machine: machine.records.objects.clear(),
            "another machine told it before": lambda machine: machine.records.objects.update(
                {"etcd/main/members/a.json": Record(b"{}", "etag")}
            ),
            "another member moved": lambda machine: machine.records.objects.update(
                {"etcd/main/members/b.json": Record(PeerRecord("i-b", "10.99.1.77", "vol-b", "now").encode(), "etag")}
            ),
        },
        before=mounted,
    ),
    "etcd established": Case(
        EtcdEstablished(CLAIM, MOUNT, ENVIRONMENT, "http://127.0.0.1:2381/readyz"),
        {
            "not marked": lambda machine: machine.files.remove(f"{MOUNT}/.established"),
            "permission to begin anew was left": content(ENVIRONMENT, b"INITIAL_CLUSTER_STATE=new\n"),
        },
        before=bootstrapped,
    ),
}


def applied(case: Case) -> MemoryHost:
    machine = empty_machine()
    case.before(machine)
    case.resource.apply(machine.host)
    return machine
