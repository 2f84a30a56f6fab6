"""A worker's certificates: all from the issuer, asked for together. A control-plane node issues its own."""

from collections.abc import Iterator
from datetime import timedelta

from pki.certificate import load_certificates
from pki.request import CertificateRequest
from units import paths
from units.facts import NodeFacts
from units.files import Directory
from units.manifest import Manifest
from units.names import node_name
from units.node_certificates import Leaf, NodeCertificates
from units.resource import Resource


def node_identity(manifest: Manifest, facts: NodeFacts) -> Iterator[Resource]:
    name = node_name(manifest, facts)
    lifetime = timedelta(hours=manifest.identity.leaf_hours)
    leaves = [
        Leaf(
            paths.pem("kubelet", "client"),
            CertificateRequest(profile="kubelet-client", name=name, lifetime=lifetime),
        ),
        Leaf(
            paths.pem("kubelet", "server"),
            CertificateRequest(
                profile="kubelet-server", name=name, ip_addresses=(facts.private_ip,), lifetime=lifetime
            ),
        ),
    ]
    yield Directory(f"{paths.PKI}/kubelet", mode=0o700)
    if manifest.kube_proxy.enabled:
        yield Directory(f"{paths.PKI}/kube-proxy", mode=0o700)
        leaves.append(
            Leaf(paths.pem("kube-proxy", "client"), CertificateRequest(profile="kube-proxy", lifetime=lifetime))
        )
    bundle = manifest.trust.authority("kubernetes").bundle
    signing = load_certificates(bundle.encode())[0].pem.decode()
    yield NodeCertificates(tuple(leaves), bundle=signing, accepted=bundle, jitter_key=facts.instance_id)
