"""kube-proxy as a static pod on every node: privileged, because it programs the kernel's packet filter."""

from collections.abc import Iterator

from pki.request import CertificateRequest
from units import paths
from units.credentials import Certificate, kubeconfig
from units.facts import NodeFacts
from units.files import Directory, File
from units.manifest import Manifest
from units.names import node_name
from units.pods import HostPath, Probe, StaticPod
from units.render import yaml_text
from units.resource import Resource
from units.services.base import trusted_file
from units.services.kubelet import server_url
from units.systemd import reads

NAME = "kube-proxy"
DIRECTORY = f"{paths.KUBERNETES}/{NAME}"
CONFIG = f"{DIRECTORY}/config.yaml"
KUBECONFIG = f"{DIRECTORY}/kubeconfig"
HEALTH_PORT = 10256


def kube_proxy(manifest: Manifest, facts: NodeFacts) -> Iterator[Resource]:
    if not manifest.kube_proxy.enabled:
        return
    yield Directory(DIRECTORY)
    if manifest.group.role == "control-plane":
        yield Directory(f"{paths.PKI}/{NAME}", mode=0o700)
        yield Certificate(
            path=paths.pem(NAME, "client"),
            request=CertificateRequest(profile=NAME),
            bundle=manifest.trust.authority("kubernetes").signing,
            jitter_key=facts.instance_id,
        )
    credentials = kubeconfig(
        KUBECONFIG,
        server=server_url(manifest, facts),
        authority=paths.authority_bundle("kubernetes"),
        credential=paths.pem(NAME, "client"),
        user="system:kube-proxy",
    )
    config = File(CONFIG, yaml_text(configuration(manifest)))
    authority = trusted_file(manifest, "kubernetes")
    yield credentials
    yield config
    yield StaticPod(
        name=NAME,
        image=f"registry.k8s.io/{NAME}:v{manifest.kubernetes_version}",
        command=NAME,
        arguments={
            "config": CONFIG,
            # Its node's own name: it picks its node's endpoints and pod range by it (etcd-pki.md 4.3).
            "hostname-override": node_name(manifest, facts),
            **manifest.components.kube_proxy,
        },
        cpu="100m",
        liveness=Probe("/livez", HEALTH_PORT, scheme="HTTP", host=facts.private_ip),
        startup=Probe("/livez", HEALTH_PORT, scheme="HTTP", host=facts.private_ip),
        reads=reads(credentials, config, authority),
        mounts=(
            HostPath(paths.AUTHORITIES),
            HostPath(DIRECTORY),
            HostPath(f"{paths.PKI}/{NAME}"),
            HostPath("/lib/modules"),
        ),
        privileged=True,
    )


def configuration(manifest: Manifest) -> dict[str, object]:
    """KubeProxyConfiguration v1alpha1; the two addresses are what its load balancers and nobody else may see."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": KUBECONFIG},
        "clusterCIDR": manifest.network.pod_cidr,
        "conntrack": {"maxPerCore": 131072},
        # The AWS load balancers ask it from outside; /healthz says whether the node takes traffic.
        "healthzBindAddress": f"0.0.0.0:{HEALTH_PORT}",
        "metricsBindAddress": "127.0.0.1:10249",  # CIS 4.3.1
        "mode": manifest.kube_proxy.mode,
        "oomScoreAdj": -998,
    }
