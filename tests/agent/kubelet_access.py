"""A kubelet's kubeconfig for tests: with a certificate of its own, as `units.credentials` lays it down."""

from datetime import UTC, datetime
from pathlib import Path

import yaml

from pki.authority import Authority
from pki.certificate import combine
from pki.keys import load_public_key, make_key, public_key_pem
from pki.request import CertificateRequest


def kubelet_kubeconfig(folder: Path, authority: Authority, server: str, node: str) -> Path:
    """The path of a new kubeconfig for this node."""
    key = make_key()
    request = CertificateRequest(profile="kubelet-client", name=node)
    issued = authority.issue(request, load_public_key(public_key_pem(key)), datetime.now(UTC))
    pem, trusted, path = (folder / f"{node}.{kind}" for kind in ("pem", "crt", "conf"))
    pem.write_bytes(combine(issued, key))
    trusted.write_bytes(authority.certificate.pem)
    kubeconfig = {
        "clusters": [{"name": "default", "cluster": {"certificate-authority": str(trusted), "server": server}}],
        "users": [{"name": node, "user": {"client-certificate": str(pem), "client-key": str(pem)}}],
    }
    path.write_text(yaml.safe_dump(kubeconfig))
    return path
