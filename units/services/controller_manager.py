"""kube-controller-manager as a static pod. Its two private keys come from tmpfs, never from a disk."""

from collections.abc import Iterator

from units import paths
from units.credentials import SecretFile
from units.facts import NodeFacts
from units.files import Directory, File
from units.manifest import Manifest
from units.pods import HostPath, Probe, StaticPod
from units.resource import Resource
from units.services.apiserver import CIPHERS, SERVICE_ACCOUNT_SECRET
from units.services.base import trusted_file
from units.services.component import component_directory, component_identity, component_kubeconfig
from units.systemd import reads

NAME = "kube-controller-manager"
DIRECTORY = component_directory(NAME)
KUBECONFIG = f"{DIRECTORY}/kubeconfig"
AUTHORITY_SECRET = f"{paths.SECRETS}/kubernetes-ca/kubernetes-ca.key"
# The signer wants certificate and key of one CA; the trust bundle may hold two during a rotation.
AUTHORITY_CERTIFICATE = f"{DIRECTORY}/signing-ca.crt"


def controller_manager(manifest: Manifest, facts: NodeFacts) -> Iterator[Resource]:
    yield from component_identity(manifest, facts, NAME)
    yield Directory(f"{paths.SECRETS}/kubernetes-ca", mode=0o700)
    authority = manifest.trust.authority("kubernetes")
    yield File(AUTHORITY_CERTIFICATE, authority.signing)
    yield SecretFile(AUTHORITY_SECRET, authority.secret, authority.signing)
    config = component_kubeconfig(manifest, facts, NAME)
    root = trusted_file(manifest, "kubernetes")
    service_account = File("service-account", manifest.trust.service_account_keys[0])
    yield StaticPod(
        name=NAME,
        image=f"registry.k8s.io/{NAME}:v{manifest.kubernetes_version}",
        command=NAME,
        arguments={**arguments(manifest), **manifest.components.kube_controller_manager},
        cpu="200m",
        liveness=Probe("/healthz", 10257),  # it has no /livez: 404 (measured)
        startup=Probe("/healthz", 10257),
        reads=reads(config, root, service_account),
        mounts=(
            HostPath(paths.AUTHORITIES),
            HostPath(DIRECTORY),
            HostPath(f"{paths.PKI}/{NAME}"),
            HostPath(f"{paths.SECRETS}/kubernetes-ca"),
            HostPath(f"{paths.SECRETS}/service-account"),
        ),
    )


def arguments(manifest: Manifest) -> dict[str, str]:
    server = paths.pem(NAME, "server")
    return {
        "allocate-node-cidrs": "false" if manifest.network.cni in ("cilium", "amazon-vpc") else "true",
        "authentication-kubeconfig": KUBECONFIG,
        "authorization-kubeconfig": KUBECONFIG,
        "bind-address": "127.0.0.1",
        "client-ca-file": paths.authority_bundle("kubernetes"),
        "cloud-provider": "external",
        "cluster-cidr": manifest.network.pod_cidr,
        "cluster-name": manifest.cluster.name,
        "cluster-signing-cert-file": AUTHORITY_CERTIFICATE,
        "cluster-signing-key-file": AUTHORITY_SECRET,
        "configure-cloud-routes": "false",
        "controllers": "*",
        "kubeconfig": KUBECONFIG,
        "leader-elect": "true",
        "profiling": "false",
        "requestheader-client-ca-file": paths.authority_bundle("front-proxy"),
        "root-ca-file": paths.authority_bundle("kubernetes"),
        "service-account-private-key-file": SERVICE_ACCOUNT_SECRET,
        "service-cluster-ip-range": manifest.network.service_cidr,
        "terminated-pod-gc-threshold": "1000",
        "tls-cert-file": server,
        "tls-cipher-suites": ",".join(CIPHERS),
        "tls-min-version": "VersionTLS12",
        "tls-private-key-file": server,
        "use-service-account-credentials": "true",
    }
