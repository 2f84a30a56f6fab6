"""Flags of the programs: removed by which release, set from which field, and which values open a hole."""

from dataclasses import dataclass

_FOREVER = 0  # gone before the oldest release that is supported


@dataclass(frozen=True)
class Removed:
    """Gone since Kubernetes 1.`minor`: the program does not start with it."""

    minor: int
    instead: str = "remove it"


_CLOUD = Removed(33, "remove it; the external cloud controller has its own configuration")
_KLOG = "remove it; logs go to the journal"

# From the Kubernetes changelogs and kops's golden files; the project's reference: kops.md 3.6, etcd-pki.md 4.1, 4.4.
REMOVED: dict[str, dict[str, Removed]] = {
    "kubeAPIServer": {
        "cloud-config": _CLOUD,
        "cloud-provider": _CLOUD,
        "insecure-bind-address": Removed(_FOREVER, "remove it; there is no insecure port"),
        "insecure-port": Removed(_FOREVER, "remove it; there is no insecure port"),
        "kubelet-https": Removed(_FOREVER, "remove it; kubelets are always asked over TLS"),
        "service-account-api-audiences": Removed(_FOREVER, "use api-audiences"),
    },
    "kubeControllerManager": {
        "address": Removed(_FOREVER, "use bind-address"),
        "enable-taint-manager": Removed(_FOREVER, "remove it; taints are always honoured"),
        "experimental-cluster-signing-duration": Removed(_FOREVER, "use cluster-signing-duration"),
        "pod-eviction-timeout": Removed(_FOREVER, "use default-not-ready-toleration-seconds of kubeAPIServer"),
        "port": Removed(_FOREVER, "use secure-port"),
    },
    "kubeScheduler": {
        "address": Removed(_FOREVER, "use bind-address"),
        "algorithm-provider": Removed(_FOREVER, "use a scheduler configuration"),
        "policy-config-file": Removed(_FOREVER, "use a scheduler configuration"),
        "port": Removed(_FOREVER, "use secure-port"),
    },
    "kubelet": {
        "azure-container-registry-config": Removed(_FOREVER, "use an image credential provider"),
        "cloud-config": Removed(34),
        "cni-bin-dir": Removed(_FOREVER, "containerd configures the CNI"),
        "cni-cache-dir": Removed(_FOREVER, "containerd configures the CNI"),
        "cni-conf-dir": Removed(_FOREVER, "containerd configures the CNI"),
        "container-runtime": Removed(_FOREVER),
        "dynamic-config-dir": Removed(_FOREVER),
        "keep-terminated-pod-volumes": Removed(_FOREVER),
        "master-service-namespace": Removed(_FOREVER),
        "network-plugin": Removed(_FOREVER, "use network.cni"),
        "pod-infra-container-image": Removed(35, "remove it; containerd's configuration names the pause image"),
        "register-schedulable": Removed(34, "use instanceGroups[].taints"),
    },
    "kubeProxy": {
        "port": Removed(_FOREVER, "use healthz-bind-address"),
        "resource-container": Removed(_FOREVER),
    },
    # Kubernetes 1.34 and later run etcd 3.6.
    "etcd": {
        "enable-v2": Removed(34, "remove it; etcd 3.6 has no v2 API"),
        "experimental-enable-v2v3": Removed(34, "remove it; etcd 3.6 has no v2 API"),
        "proxy": Removed(34, "remove it; etcd 3.6 has no v2 proxy"),
    },
    "containerd": {},
}
for _component in ("kubeAPIServer", "kubeControllerManager", "kubeScheduler", "kubelet", "kubeProxy"):
    REMOVED[_component] |= dict.fromkeys(
        (
            "add-dir-header",
            "alsologtostderr",
            "log-backtrace-at",
            "log-dir",
            "log-file",
            "log-file-max-size",
            "logtostderr",
            "one-output",
            "skip-headers",
            "skip-log-headers",
            "stderrthreshold",
        ),
        Removed(_FOREVER, _KLOG),
    )

_CERTIFICATES = "bootwright, with the certificates it issues"
_IDENTITY = "bootwright: the member's identity is its volume's"
_ETCD_TLS = "bootwright: etcd talks TLS with client certificates only"

# flag -> where it is set instead.
OWNED: dict[str, dict[str, str]] = {
    "kubeAPIServer": {
        "advertise-address": "the agent, from the instance's address",
        "allow-privileged": "bootwright",
        "anonymous-auth": "bootwright: health paths only, by an AuthenticationConfiguration, which excludes this flag",
        "authentication-config": "bootwright: the health paths are open to probes by it",
        "authorization-config": "bootwright: authorization-mode Node,RBAC, which excludes this flag",
        "authorization-mode": "bootwright: Node,RBAC",
        "bind-address": "bootwright",
        "client-ca-file": _CERTIFICATES,
        "etcd-cafile": _CERTIFICATES,
        "etcd-certfile": _CERTIFICATES,
        "etcd-keyfile": _CERTIFICATES,
        "etcd-servers": "etcdClusters",
        "etcd-servers-overrides": "etcdClusters: add a cluster named events",
        "kubelet-certificate-authority": _CERTIFICATES,
        "kubelet-client-certificate": _CERTIFICATES,
        "kubelet-client-key": _CERTIFICATES,
        "proxy-client-cert-file": _CERTIFICATES,
        "proxy-client-key-file": _CERTIFICATES,
        "requestheader-allowed-names": _CERTIFICATES,
        "requestheader-client-ca-file": _CERTIFICATES,
        "secure-port": "api.port",
        "service-account-key-file": _CERTIFICATES,
        "service-account-signing-key-file": _CERTIFICATES,
        "service-cluster-ip-range": "network.serviceCIDR",
        "tls-cert-file": _CERTIFICATES,
        "tls-private-key-file": _CERTIFICATES,
    },
    "kubeControllerManager": {
        "authentication-kubeconfig": _CERTIFICATES,
        "authorization-kubeconfig": _CERTIFICATES,
        "bind-address": "bootwright: 127.0.0.1",
        "client-ca-file": _CERTIFICATES,
        "cluster-cidr": "network.podCIDR",
        "cluster-name": "metadata.name",
        "cluster-signing-cert-file": _CERTIFICATES,
        "cluster-signing-key-file": _CERTIFICATES,
        "kubeconfig": _CERTIFICATES,
        "leader-elect": "bootwright",
        "requestheader-client-ca-file": _CERTIFICATES,
        "root-ca-file": _CERTIFICATES,
        "service-account-private-key-file": _CERTIFICATES,
        "service-cluster-ip-range": "network.serviceCIDR",
        "tls-cert-file": _CERTIFICATES,
        "tls-private-key-file": _CERTIFICATES,
        "use-service-account-credentials": "bootwright: true",
    },
    "kubeScheduler": {
        "authentication-kubeconfig": _CERTIFICATES,
        "authorization-kubeconfig": _CERTIFICATES,
        "bind-address": "bootwright: 127.0.0.1",
        "client-ca-file": _CERTIFICATES,
        "config": "bootwright",
        "kubeconfig": _CERTIFICATES,
        "leader-elect": "bootwright",
        "tls-cert-file": _CERTIFICATES,
        "tls-private-key-file": _CERTIFICATES,
    },
    "kubelet": {
        "anonymous-auth": "bootwright: false",
        "authorization-mode": "bootwright: Webhook",
        "bootstrap-kubeconfig": "the agent, which gets certificates from the issuer",
        "cert-dir": _CERTIFICATES,
        "client-ca-file": _CERTIFICATES,
        "cloud-provider": "bootwright: external",
        "cluster-dns": "network.serviceCIDR: its tenth address",
        "cluster-domain": "network.clusterDomain",
        "config": "instanceGroups[].kubelet",
        "config-dir": "instanceGroups[].kubelet: a drop-in folder would not be signed",
        "container-runtime-endpoint": "bootwright",
        "hostname-override": "nodeName",
        "kubeconfig": _CERTIFICATES,
        "node-ip": "the agent, from the instance's address",
        "node-labels": "instanceGroups[].labels",
        "pod-manifest-path": "bootwright",
        "provider-id": "the agent, from the instance's identity",
        "read-only-port": "bootwright: 0",
        "register-with-taints": "instanceGroups[].taints",
        "root-dir": "bootwright: /var/lib/kubelet",
        "tls-cert-file": _CERTIFICATES,
        "tls-private-key-file": _CERTIFICATES,
    },
    "kubeProxy": {
        "cluster-cidr": "network.podCIDR",
        "config": "bootwright",
        "hostname-override": "nodeName",
        "kubeconfig": _CERTIFICATES,
        "master": "api.endpoint",
    },
    "etcd": {
        "advertise-client-urls": _IDENTITY,
        "auto-tls": _ETCD_TLS,
        "cert-file": _ETCD_TLS,
        "client-cert-auth": _ETCD_TLS,
        "config-file": "bootwright: etcd would ignore every other flag",
        "data-dir": _IDENTITY,
        "discovery": _IDENTITY,
        "discovery-srv": _IDENTITY,
        "initial-advertise-peer-urls": _IDENTITY,
        "initial-cluster": _IDENTITY,
        "initial-cluster-state": _IDENTITY,
        "initial-cluster-token": _IDENTITY,
        "key-file": _ETCD_TLS,
        "listen-client-urls": _IDENTITY,
        "listen-metrics-urls": "bootwright: its health checks ask 127.0.0.1",
        "listen-peer-urls": _IDENTITY,
        "name": _IDENTITY,
        "peer-auto-tls": _ETCD_TLS,
        "peer-cert-file": _ETCD_TLS,
        "peer-client-cert-auth": _ETCD_TLS,
        "peer-key-file": _ETCD_TLS,
        "peer-trusted-ca-file": _ETCD_TLS,
        "trusted-ca-file": _ETCD_TLS,
        "wal-dir": _IDENTITY,
    },
    "containerd": {
        "address": "bootwright",
        "config": "bootwright",
        "root": "bootwright",
        "state": "bootwright",
    },
}

# flag -> why not, whatever its value: it opens a hole, loses data, or does nothing.
UNWISE: dict[str, dict[str, str]] = {
    "kubeAPIServer": {
        "admission-control": "deprecated; use enable-admission-plugins",
        "apiserver-count": "deprecated, and without effect: API servers count themselves by leases",
        "kubelet-port": "deprecated, and without effect: each node says which port its kubelet has",
        "authorization-policy-file": "ABAC; RBAC decides here",
        "token-auth-file": "tokens in a file never expire and cannot be revoked",
    },
    "kubeControllerManager": {},
    "kubeScheduler": {},
    "kubelet": {},
    "kubeProxy": {},
    "etcd": {
        "force-new-cluster": "it throws away the other members at every start; use `coordinator etcd restore`",
        "peer-skip-client-san-verification": "any certificate of the peer CA could then join from anywhere",
        "unsafe-no-fsync": "a power cut then loses what etcd has promised to keep",
    },
    "containerd": {},
}
