"""Where things lie on a node (DESIGN section 9). Each component has a directory of its own, so that its pod mounts
what it needs and nothing else; directories are mounted, never files, because a rename is invisible through a file
mount (etcd-pki.md 3.4).
"""

KUBERNETES = "/etc/kubernetes"
PKI = "/etc/kubernetes/pki"
AUTHORITIES = "/etc/kubernetes/pki/ca"  # public halves only
KUBELET = "/var/lib/kubelet"
KUBELET_KUBECONFIG = "/etc/kubernetes/kubelet.conf"
ETCD = "/var/lib/etcd"
RUN = "/run/bootwright"
SECRETS = "/run/bootwright/secrets"  # tmpfs: the cluster's own keys never touch a disk
CONTAINERD_SOCKET = "unix:///run/containerd/containerd.sock"
AUDIT_LOG = "/var/log/kubernetes/audit"


def authority_bundle(name: str) -> str:
    return f"{AUTHORITIES}/{name}.crt"


def pem(component: str, name: str) -> str:
    """Certificate and key of one component, in one file."""
    return f"{PKI}/{component}/{name}.pem"
