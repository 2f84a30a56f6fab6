"""What belongs to bootwright on a node, so that a manifest may not set it. Only lists; `units.soundness` applies them.

A signature says who wrote a manifest, not that it is safe, and a node must not depend on the coordinator having
looked: `coordinator.spec.flags` refuses the same earlier, with a better explanation (a test compares the two).
"""

from collections.abc import Mapping

# Component of the manifest -> flags.
_FLAGS = {
    "kube_apiserver": """
        admission-control advertise-address allow-privileged anonymous-auth authentication-config authorization-config
        authorization-mode authorization-policy-file basic-auth-file bind-address client-ca-file etcd-cafile
        etcd-certfile etcd-keyfile etcd-prefix etcd-servers etcd-servers-overrides insecure-bind-address insecure-port
        kubelet-certificate-authority kubelet-client-certificate kubelet-client-key proxy-client-cert-file
        proxy-client-key-file requestheader-allowed-names requestheader-client-ca-file
        requestheader-extra-headers-prefix requestheader-group-headers requestheader-username-headers secure-port
        service-account-key-file service-account-signing-key-file service-cluster-ip-range tls-cert-file
        tls-private-key-file token-auth-file
    """,
    "kube_controller_manager": """
        authentication-kubeconfig authorization-always-allow-paths authorization-kubeconfig bind-address client-ca-file
        cluster-cidr cluster-name cluster-signing-cert-file cluster-signing-key-file kubeconfig leader-elect
        requestheader-allowed-names requestheader-client-ca-file root-ca-file service-account-private-key-file
        service-cluster-ip-range tls-cert-file tls-private-key-file use-service-account-credentials
    """,
    "kube_scheduler": """
        authentication-kubeconfig authorization-always-allow-paths authorization-kubeconfig bind-address client-ca-file
        config kubeconfig leader-elect requestheader-allowed-names requestheader-client-ca-file tls-cert-file
        tls-private-key-file
    """,
    "kube_proxy": "cluster-cidr config hostname-override kubeconfig master",
    "kubelet": """
        address anonymous-auth authentication-token-webhook authorization-mode bootstrap-kubeconfig cert-dir
        client-ca-file cloud-provider cluster-dns cluster-domain config config-dir container-runtime-endpoint
        enable-server hostname-override kubeconfig manifest-url manifest-url-header node-ip node-labels
        pod-manifest-path port provider-id read-only-port register-with-taints root-dir rotate-certificates
        rotate-server-certificates tls-cert-file tls-private-key-file
    """,
    "etcd": """
        advertise-client-urls auto-tls cert-file client-cert-auth config-file data-dir discovery discovery-srv
        force-new-cluster initial-advertise-peer-urls initial-cluster initial-cluster-state initial-cluster-token
        key-file listen-client-http-urls listen-client-urls listen-metrics-urls listen-peer-urls name peer-auto-tls
        peer-cert-file peer-client-cert-auth peer-key-file peer-skip-client-san-verification peer-trusted-ca-file
        trusted-ca-file unsafe-no-fsync wal-dir
    """,
}

FLAGS: Mapping[str, frozenset[str]] = {component: frozenset(flags.split()) for component, flags in _FLAGS.items()}

# Fields of KubeletConfiguration.
_KUBELET_FIELDS = """
    apiVersion authentication authorization cgroupDriver clusterDNS clusterDomain containerRuntimeEndpoint enableServer
    failCgroupV1 healthzBindAddress healthzPort imageServiceEndpoint kind podCIDR port providerID readOnlyPort
    registerNode registerWithTaints rotateCertificates runOnce serverTLSBootstrap staticPodPath staticPodURL
    staticPodURLHeader tlsCertFile tlsPrivateKeyFile
"""
KUBELET_FIELDS = frozenset(_KUBELET_FIELDS.split())

# Files and folders with everything in them: ours, or a way around the signature.
PATHS = (
    "/boot",
    "/dev",
    "/etc/bootwright",
    "/etc/containerd/config.toml",
    "/etc/containerd/cni-conf.template",
    "/etc/fstab",
    "/etc/group",
    "/etc/gshadow",
    "/etc/hosts",
    "/etc/kubernetes",
    "/etc/machine-id",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/opt/bootwright",
    "/proc",
    "/root",
    "/run",
    "/sys",
    "/tmp",  # noqa: S108 (named to be refused)
    "/usr/lib/systemd",
    "/var/lib/bootwright",
    "/var/lib/containerd",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/run",
    "/var/tmp",  # noqa: S108 (named to be refused)
)
# Units of ours, and drop-ins that would change them.
UNIT_FOLDERS = ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
UNIT_PREFIXES = ("bootwright-", "kubelet.", "containerd.", "etcd")
# Binaries of the CNI come as assets, from a catalogue with hashes; as an extra file they would be a surprise.
NOT_AS_EXTRA_FILE = ("/opt/cni",)
