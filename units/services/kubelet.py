"""kubelet: its config file, its two certificates, its kubeconfig and its unit."""

from collections.abc import Iterator
from typing import Any

from pki.request import CertificateRequest
from units import paths
from units.credentials import Certificate, kubeconfig
from units.facts import NodeFacts
from units.files import Directory, File
from units.manifest import Manifest, Taint
from units.names import node_name, url_host
from units.render import flags, template_text, yaml_text
from units.resource import Resource
from units.services.apiserver import CIPHERS
from units.services.base import trusted_file
from units.systemd import Unit, reads, unit_arguments

CONFIG = f"{paths.KUBELET}/config.yaml"
BINARY = "/usr/local/bin/kubelet"
CLIENT_CA_RELOADS_SINCE = 36  # ReloadKubeletClientCAFile; before, a new bundle restarts kubelet (etcd-pki.md 3.4)

CONTROL_PLANE_TAINT = Taint(key="node-role.kubernetes.io/control-plane", effect="NoSchedule")

# What NodeRestriction lets a kubelet say of itself; the rest is set by a control-plane agent (issue 3).
_OWN_LABELS = (
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
)
_OWN_DOMAINS = ("kubelet.kubernetes.io", "node.kubernetes.io")


def kubelet(manifest: Manifest, facts: NodeFacts) -> Iterator[Resource]:
    name = node_name(manifest, facts)
    if manifest.group.role == "control-plane":
        yield from _certificates(manifest, facts)
    credentials = kubeconfig(
        paths.KUBELET_KUBECONFIG,
        server=server_url(manifest, facts),
        authority=paths.authority_bundle("kubernetes"),
        credential=paths.pem("kubelet", "client"),
        user=f"system:node:{name}",
    )
    yield credentials
    config = File(CONFIG, yaml_text(configuration(manifest, facts)), mode=0o600, kind="kubelet-config")
    yield config
    restarting = [config, credentials]
    if manifest.minor < CLIENT_CA_RELOADS_SINCE:
        restarting.append(trusted_file(manifest, "kubernetes"))
    binary = "".join(asset.sha256 for asset in manifest.assets if asset.path == BINARY)
    yield Unit(
        "kubelet.service",
        template_text("kubelet.service", binary=BINARY, arguments=unit_arguments(flags(arguments(manifest, facts)))),
        reads=reads(*restarting, File(BINARY, binary)),
        mode=0o600,  # CIS 4.1.1
    )


def _certificates(manifest: Manifest, facts: NodeFacts) -> Iterator[Resource]:
    """Of a node that signs its own; a worker's come from the issuer (`units.services.node_identity`)."""
    yield Directory(f"{paths.PKI}/kubelet", mode=0o700)
    name = node_name(manifest, facts)
    for file, request in (
        ("client", CertificateRequest(profile="kubelet-client", name=name)),
        ("server", CertificateRequest(profile="kubelet-server", name=name, ip_addresses=(facts.private_ip,))),
    ):
        yield Certificate(
            path=paths.pem("kubelet", file),
            request=request,
            bundle=manifest.trust.authority("kubernetes").signing,
            jitter_key=facts.instance_id,
        )


def server_url(manifest: Manifest, facts: NodeFacts) -> str:
    """A control-plane node talks to its own API server, so it does not depend on the load balancer to become ready."""
    host = facts.private_ip if manifest.group.role == "control-plane" else manifest.api.endpoint
    return f"https://{url_host(host)}:{manifest.api.port}"


def arguments(manifest: Manifest, facts: NodeFacts) -> dict[str, str]:
    """Only what has no field in the config file (etcd-pki.md 4.1)."""
    return {
        "cloud-provider": "external",
        "config": CONFIG,
        "hostname-override": node_name(manifest, facts),
        "kubeconfig": paths.KUBELET_KUBECONFIG,
        # Without it a node has no address until the cloud controller manager has run.
        "node-ip": facts.private_ip,
        "node-labels": ",".join(f"{key}={value}" for key, value in sorted(own_labels(manifest, facts).items())),
        "v": "2",
        **manifest.components.kubelet,
    }


def own_labels(manifest: Manifest, facts: NodeFacts) -> dict[str, str]:
    labels = {
        "bootwright.io/group": manifest.group.name,
        "node.kubernetes.io/instance-type": facts.machine_type,
        "topology.kubernetes.io/region": facts.region,
        "topology.kubernetes.io/zone": facts.zone,
    }
    return {**labels, **{key: value for key, value in manifest.group.labels.items() if may_set(key)}}


def may_set(label: str) -> bool:
    """Whether a kubelet may set this label on its own Node (NodeRestriction, etcd-pki.md 3.2)."""
    domain = label.rpartition("/")[0]
    if label in _OWN_LABELS or not domain:
        return True
    if any(domain == own or domain.endswith(f".{own}") for own in _OWN_DOMAINS):
        return True
    reserved = ("kubernetes.io", "k8s.io")
    return not any(domain == name or domain.endswith(f".{name}") for name in reserved)


def configuration(manifest: Manifest, facts: NodeFacts) -> dict[str, Any]:
    """KubeletConfiguration v1beta1. kubelet ignores a typo silently (measured), so the spec checks overrides."""
    server = paths.pem("kubelet", "server")
    taints = [CONTROL_PLANE_TAINT] if manifest.group.role == "control-plane" else []
    wanted: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True, "cacheTTL": "2m0s"},
            "x509": {"clientCAFile": paths.authority_bundle("kubernetes")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "systemd",
        "clusterDNS": [manifest.network.dns_service_ip],
        "clusterDomain": manifest.network.cluster_domain,
        "containerLogMaxSize": "50Mi",
        "containerRuntimeEndpoint": paths.CONTAINERD_SOCKET,
        "enforceNodeAllocatable": ["pods"],
        "eventRecordQPS": 50,
        # All signals: setting one drops the default of every other (etcd-pki.md 4.1).
        "evictionHard": {
            "imagefs.available": "15%",
            "imagefs.inodesFree": "5%",
            "memory.available": "100Mi",
            "nodefs.available": "10%",
            "nodefs.inodesFree": "5%",
        },
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10248,
        "kubeReserved": reserved(facts),
        "makeIPTablesUtilChains": True,
        "maxParallelImagePulls": 5,
        "podPidsLimit": 4096,
        "protectKernelDefaults": True,
        "providerID": facts.provider_id,
        "readOnlyPort": 0,
        "registerWithTaints": [_taint(taint) for taint in (*taints, *manifest.group.taints)],
        "resolvConf": "/run/systemd/resolve/resolv.conf" if facts.resolved_active else "/etc/resolv.conf",
        # Certificates are renewed by the agent, for every role the same way.
        "rotateCertificates": False,
        "seccompDefault": True,
        "serializeImagePulls": False,
        "serverTLSBootstrap": False,
        "shutdownGracePeriod": "30s",
        "shutdownGracePeriodCriticalPods": "10s",
        "staticPodPath": "/etc/kubernetes/manifests",
        "streamingConnectionIdleTimeout": "4h0m0s",
        "tlsCertFile": server,
        "tlsCipherSuites": list(CIPHERS),
        "tlsMinVersion": "VersionTLS12",
        "tlsPrivateKeyFile": server,
    }
    return {
        field: _laid_over(wanted.get(field), value) for field, value in {**wanted, **manifest.group.kubelet}.items()
    }


def _laid_over(ours: Any, theirs: Any) -> Any:
    """Maps are merged: one signal in evictionHard must not drop the others."""
    return {**ours, **theirs} if isinstance(ours, dict) and isinstance(theirs, dict) else theirs


def _taint(taint: Taint) -> dict[str, str]:
    value = {"value": taint.value} if taint.value else {}
    return {"key": taint.key, **value, "effect": taint.effect}


def reserved(facts: NodeFacts) -> dict[str, str]:
    """What kubelet and containerd need: the usual sliding scale (25 % of the first 4 GiB, 20 % of the next, ...)."""
    gibibyte = 1024**3
    memory, rest = 0.0, float(facts.memory_bytes)
    for size, share in ((4, 0.25), (4, 0.20), (8, 0.10), (112, 0.06), (10**6, 0.02)):
        slice_bytes = min(rest, size * gibibyte)
        memory += slice_bytes * share
        rest -= slice_bytes
    cpu = 60 + 10 * max(0, min(facts.cpus, 2) - 1) + 5 * max(0, min(facts.cpus, 4) - 2) + 2.5 * max(0, facts.cpus - 4)
    return {"cpu": f"{int(cpu)}m", "memory": f"{int(memory / 1024**2)}Mi"}
