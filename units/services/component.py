"""What the controller manager and the scheduler have in common: directories, two certificates, and a kubeconfig."""

from collections.abc import Iterator

from pki.request import CertificateRequest
from units import paths
from units.credentials import Certificate, kubeconfig
from units.facts import NodeFacts
from units.files import Directory, File
from units.manifest import Manifest
from units.resource import Resource


def component_directory(name: str) -> str:
    return f"{paths.KUBERNETES}/{name}"


def component_kubeconfig(manifest: Manifest, facts: NodeFacts, name: str) -> File:
    """To this node's own API server: a component must not depend on the load balancer, or on a newer API server."""
    return kubeconfig(
        f"{component_directory(name)}/kubeconfig",
        server=f"https://{facts.private_ip}:{manifest.api.port}",
        authority=paths.authority_bundle("kubernetes"),
        credential=paths.pem(name, "client"),
        user=f"system:{name}",
    )


def component_identity(manifest: Manifest, facts: NodeFacts, name: str) -> Iterator[Resource]:
    """Profiles NAME (client) and NAME-server, then the kubeconfig that names the client's file."""
    yield Directory(component_directory(name))
    yield Directory(f"{paths.PKI}/{name}", mode=0o700)
    for file, profile in (("client", name), ("server", f"{name}-server")):
        yield Certificate(
            path=paths.pem(name, file),
            request=CertificateRequest(profile=profile),
            bundle=manifest.trust.authority("kubernetes").signing,
            jitter_key=facts.instance_id,
        )
    yield component_kubeconfig(manifest, facts, name)
