"""StaticPod: a control-plane component as kubelet reads it from disk, in kubeadm's shape (etcd-pki.md 4.2)."""

from dataclasses import dataclass, field
from typing import Any, Literal

from units.files import File, digest
from units.host import Host
from units.render import flags, json_text, yaml_text
from units.resource import Change, Description

DIRECTORY = "/etc/kubernetes/manifests"
# kubelet hands a pod's labels to the runtime, which finds a sandbox by them (measured: containerd 1.7, kubelet 1.36).
DIGEST_LABEL = "bootwright.io/digest"
NAME_LABEL = "component"


@dataclass(frozen=True, slots=True)
class Probe:
    path: str
    port: int
    scheme: Literal["HTTPS", "HTTP"] = "HTTPS"
    host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class HostPath:
    path: str
    type: Literal["Directory", "DirectoryOrCreate"] = "Directory"
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class StaticPod:
    """kubelet reads every file of its directory that has no leading dot, so writes go through a hidden temporary.

    `reads` is the digest of files that the component reads only at its start; as an annotation it makes kubelet
    replace the pod when they change, and leaves it alone when they do not. `digest` is of the whole pod: the runtime
    reports it of what it runs, so that a pod which kubelet has not replaced yet is told from the one that is wanted.
    """

    name: str
    image: str
    command: str
    arguments: dict[str, str]
    cpu: str  # request, Kubernetes quantity
    liveness: Probe
    startup: Probe
    mounts: tuple[HostPath, ...]
    readiness: Probe | None = None
    reads: str = ""
    capabilities: tuple[str, ...] = ()  # kept; all others are dropped
    privileged: bool = False
    digest: str = field(init=False, repr=False, compare=False)  # half of a sha256: a label has at most 63 characters
    _file: File = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Once: PyYAML takes 11 ms for an API server (measured), and a run asks up to three times.
        object.__setattr__(self, "digest", digest(json_text(self._manifest({})).encode())[:32])
        content = yaml_text(self.manifest())
        object.__setattr__(self, "_file", File(self.path, content, mode=0o600, kind="static-pod"))

    @property
    def key(self) -> str:
        return f"static-pod:{self.name}"

    @property
    def path(self) -> str:
        return f"{DIRECTORY}/{self.name}.yaml"

    @property
    def text(self) -> str:
        """As it lies at `path`."""
        return self._file.content

    def check(self, host: Host) -> Change | None:
        return self._file.check(host)

    def apply(self, host: Host) -> None:
        self._file.apply(host)

    def describe(self) -> Description:
        return Description(self.key, self._file.describe().lines)

    def manifest(self) -> dict[str, Any]:
        return self._manifest({DIGEST_LABEL: self.digest})

    def _manifest(self, more: dict[str, str]) -> dict[str, Any]:
        names = [_volume_name(mount.path) for mount in self.mounts]
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": "kube-system",
                "labels": {NAME_LABEL: self.name, "tier": "control-plane", **more},
                "annotations": {"bootwright.io/reads": f"sha256:{self.reads}"} if self.reads else {},
            },
            "spec": {
                "hostNetwork": True,
                "priority": 2000001000,
                "priorityClassName": "system-node-critical",
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [self._container(names)],
                "volumes": [
                    {"name": name, "hostPath": {"path": mount.path, "type": mount.type}}
                    for name, mount in zip(names, self.mounts, strict=True)
                ],
            },
        }

    def _container(self, volume_names: list[str]) -> dict[str, Any]:
        # Periods and thresholds are kubeadm's: util/staticpod/utils.go.
        container: dict[str, Any] = {
            "name": self.name,
            "image": self.image,
            "imagePullPolicy": "IfNotPresent",
            "command": [self.command, *flags(self.arguments)],
            "resources": {"requests": {"cpu": self.cpu}},
            "securityContext": self._security(),
            "livenessProbe": _probe(self.liveness, period=10, failures=8, delay=10),
        }
        if self.readiness:
            container["readinessProbe"] = _probe(self.readiness, period=1, failures=3, delay=0)
        container["startupProbe"] = _probe(self.startup, period=10, failures=24, delay=10)
        container["volumeMounts"] = [
            {"name": name, "mountPath": mount.path, "readOnly": mount.read_only}
            for name, mount in zip(volume_names, self.mounts, strict=True)
        ]
        return container

    def _security(self) -> dict[str, Any]:
        if self.privileged:
            return {"privileged": True}
        kept = {"add": list(self.capabilities)} if self.capabilities else {}
        return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"], **kept}}


def _probe(probe: Probe, *, period: int, failures: int, delay: int) -> dict[str, Any]:
    return {
        "httpGet": {"host": probe.host, "path": probe.path, "port": probe.port, "scheme": probe.scheme},
        "initialDelaySeconds": delay,
        "timeoutSeconds": 15,
        "periodSeconds": period,
        "failureThreshold": failures,
    }


def _volume_name(path: str) -> str:
    return path.strip("/").replace("/", "-").replace(".", "-")
