"""The issuer of workers' certificates, on every control-plane node: its configuration, its certificate, its socket.

Both units are baked (packer/rootfs): the socket listens, the service is started by the first connection and ends when
it is idle. systemd hands it the CA key and its own certificate as credentials, copies of the files that lie here.
"""

from collections.abc import Iterator

from pki.request import CertificateRequest
from units import paths
from units.credentials import Certificate
from units.facts import NodeFacts
from units.files import Directory, File
from units.issuer_config import issuer_config
from units.manifest import Manifest
from units.names import is_address, node_name
from units.resource import Resource
from units.services.base import authority_file
from units.systemd import Unit, reads

CONFIG = "/etc/bootwright/issuer.json"
SOCKET = "bootwright-issuer.socket"
PORT_DROP_IN = f"/etc/systemd/system/{SOCKET}.d/port.conf"


def issuer(manifest: Manifest, facts: NodeFacts) -> Iterator[Resource]:
    if not manifest.identity.node_groups:
        return  # nobody may join as a worker
    name = node_name(manifest, facts)
    yield Directory(f"{paths.PKI}/issuer", mode=0o700)
    endpoint = manifest.api.endpoint
    names, addresses = (
        ((), (endpoint, facts.private_ip)) if is_address(endpoint) else ((endpoint,), (facts.private_ip,))
    )
    yield Certificate(
        path=paths.pem("issuer", "server"),
        request=CertificateRequest(
            profile="issuer-server",
            name=name,
            dns_names=names,
            ip_addresses=addresses,
        ),
        bundle=manifest.trust.authority("kubernetes").signing,
        jitter_key=facts.instance_id,
    )
    config = File(CONFIG, issuer_config(manifest, facts).model_dump_json(indent=1) + "\n", mode=0o600)
    yield config
    yield Directory(PORT_DROP_IN.rpartition("/")[0])
    port = File(PORT_DROP_IN, f"[Socket]\nListenStream=\nListenStream={manifest.identity.port}\n")
    yield port
    # A restart of the socket ends a running issuer too (PartOf=): the next connection starts one with the new files.
    yield Unit(SOCKET, reads=reads(config, port, authority_file(manifest, "kubernetes")))
