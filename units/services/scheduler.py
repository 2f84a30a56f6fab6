"""kube-scheduler as a static pod."""

from collections.abc import Iterator

from pki.request import CertificateRequest
from units import paths
from units.credentials import Certificate, kubeconfig
from units.facts import NodeFacts
from units.files import Directory, File
from units.manifest import Manifest
from units.pods import HostPath, Probe, StaticPod
from units.resource import Resource
from units.services.apiserver import CIPHERS
from units.systemd import reads

NAME = "kube-scheduler"
DIRECTORY = f"/etc/kubernetes/{NAME}"
KUBECONFIG = f"{DIRECTORY}/kubeconfig"


def scheduler(manifest: Manifest, facts: NodeFacts) -> Iterator[Resource]:
    yield Directory(DIRECTORY)
    yield Directory(f"{paths.PKI}/{NAME}", mode=0o700)
    bundle = manifest.trust.authority("kubernetes").bundle
    for name, profile in (("client", NAME), ("server", f"{NAME}-server")):
        yield Certificate(
            path=paths.pem(NAME, name),
            request=CertificateRequest(profile=profile),
            bundle=bundle,
            jitter_key=facts.instance_id,
        )
    config = kubeconfig(
        KUBECONFIG,
        server=f"https://{facts.private_ip}:{manifest.api.port}",
        authority=paths.authority_bundle("kubernetes"),
        credential=paths.pem(NAME, "client"),
        user=f"system:{NAME}",
    )
    yield config
    yield StaticPod(
        name=NAME,
        image=f"registry.k8s.io/{NAME}:v{manifest.kubernetes_version}",
        command=NAME,
        arguments={**arguments(), **manifest.components.kube_scheduler},
        cpu="100m",
        liveness=Probe("/livez", 10259),
        readiness=Probe("/readyz", 10259),
        startup=Probe("/livez", 10259),
        reads=reads(config, File(paths.authority_bundle("kubernetes"), bundle)),
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
