"""Certificates of the cluster's authority with any subject: what `pki` would never issue."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pki.authority import Authority
from pki.certificate import combine
from pki.keys import load_private_key, make_key
from tests.agent.issuer.world import NODE


def node_certificate(
    authority: Authority,
    *,
    common_name: str = f"system:node:{NODE}",
    organizations: tuple[str, ...] = ("system:nodes",),
    client: bool = True,
    ends: timedelta = timedelta(hours=1),
) -> bytes:
    """A combined PEM."""
    key = make_key()
    now = datetime.now(UTC)
    names = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
    built = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*names, x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(authority.certificate.parsed.subject)
        .public_key(load_private_key(key).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=2))
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return combine(built.public_bytes(serialization.Encoding.PEM), key)
