"""How a node is called in Kubernetes. Always from what EC2 says, never from what the machine says of itself."""

import ipaddress

from units.facts import NodeFacts
from units.manifest import Manifest


def node_name(manifest: Manifest, facts: NodeFacts) -> str:
    """The CN of the kubelet's certificate, `--hostname-override`, and the Node object: one and the same text."""
    name = facts.instance_id if manifest.node_name == "instance-id" else facts.private_dns_name
    return name.lower()


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def url_host(text: str) -> str:
    """An endpoint as it stands in a URL: IPv6 addresses in brackets."""
    return f"[{text}]" if ":" in text else text
