"""kube-scheduler as a static pod."""

from collections.abc import Iterator

from units import paths
from units.facts import NodeFacts
from units.manifest import Manifest
from units.pods import HostPath, Probe, StaticPod
from units.resource import Resource
from units.services.apiserver import CIPHERS
from units.services.base import trusted_file
from units.services.component import component_directory, component_identity, component_kubeconfig
from units.systemd import reads

NAME = "kube-scheduler"
DIRECTORY = component_directory(NAME)
KUBECONFIG = f"{DIRECTORY}/kubeconfig"


def scheduler(manifest: Manifest, facts: NodeFacts) -> Iterator[Resource]:
    yield from component_identity(manifest, facts, NAME)
    config = component_kubeconfig(manifest, facts, NAME)
    authority = trusted_file(manifest, "kubernetes")
    yield StaticPod(
        name=NAME,
        image=f"registry.k8s.io/{NAME}:v{manifest.kubernetes_version}",
        command=NAME,
        arguments={**arguments(), **manifest.components.kube_scheduler},
        cpu="100m",
        liveness=Probe("/livez", 10259),
        readiness=Probe("/readyz", 10259),
        startup=Probe("/livez", 10259),
        reads=reads(config, authority),
        mounts=(HostPath(paths.AUTHORITIES), HostPath(DIRECTORY), HostPath(f"{paths.PKI}/{NAME}")),
    )


def arguments() -> dict[str, str]:
    server = paths.pem(NAME, "server")
    return {
        "authentication-kubeconfig": KUBECONFIG,
        "authorization-kubeconfig": KUBECONFIG,
        "bind-address": "127.0.0.1",
        "client-ca-file": paths.authority_bundle("kubernetes"),
        "kubeconfig": KUBECONFIG,
        "leader-elect": "true",
        "profiling": "false",
        "requestheader-client-ca-file": paths.authority_bundle("front-proxy"),
        "tls-cert-file": server,
        "tls-cipher-suites": ",".join(CIPHERS),
        "tls-min-version": "VersionTLS12",
        "tls-private-key-file": server,
    }
