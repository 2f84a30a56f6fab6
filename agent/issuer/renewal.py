"""A renewal's proof: the node's own certificate. TLS has checked its key, authority, dates and usage (trust.md 2.3)."""

import ssl
from typing import TYPE_CHECKING

from agent.issuer.checks import Check, require
from agent.issuer.codes import refused
from pki.certificate import Certificate, load_certificate
from pki.errors import PkiError

if TYPE_CHECKING:
    from agent.issuer.rules import Rules

_PREFIX = "system:node:"


def read_certificate(der: bytes, rules: "Rules") -> tuple[str, str]:
    """The node's name and the hex SHA-256 of its public key."""
    try:
        certificate = load_certificate(ssl.DER_cert_to_PEM_cert(der).encode())
    except PkiError as error:
        raise refused("certificate-refused", f"{error}") from error
    require(rules.certificate, certificate)
    return certificate.common_name.removeprefix(_PREFIX), certificate.spki_sha256


def _name(certificate: Certificate) -> str:
    found = certificate.common_name
    return "" if found.startswith(_PREFIX) and found != _PREFIX else f"{found[:80]!r} is no node"


CERTIFICATE: tuple[Check[Certificate], ...] = (
    Check("N18-renewal-name", "certificate-refused", _name),
    Check(
        "N18-renewal-organization",
        "certificate-refused",
        lambda found: "" if found.organizations == ("system:nodes",) else f"O {found.organizations}",
    ),
    Check(
        "N18-renewal-usage",
        "certificate-refused",
        lambda found: "" if found.usages == ("client",) else f"usages {found.usages}",
    ),
)
