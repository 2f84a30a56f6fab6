"""Who vouches for a certificate: bundles of authorities, and the path from a leaf to one of them."""

import ipaddress
from datetime import datetime

from cryptography import x509
from cryptography.x509 import verification

from pki.certificate import Certificate, load_certificates
from pki.errors import PkiError
from pki.profiles import Usage


def bundle(*authority_pems: bytes) -> bytes:
    """Several authorities in one PEM, each once, in the order given: put the signing one first.

    While an authority is replaced, old and new are both trusted before anything is signed by the new one.
    """
    authorities = [authority for pem in authority_pems for authority in load_authorities(pem)]
    return b"".join(dict.fromkeys(authority.pem for authority in authorities))


def load_authorities(bundle_pem: bytes) -> tuple[Certificate, ...]:
    """The certificates of a CA bundle; PkiError `authority-refused` if one of them may not sign certificates."""
    certificates = load_certificates(bundle_pem)
    for certificate in certificates:
        if not certificate.is_authority:
            raise PkiError("authority-refused", f"{certificate.common_name!r} in the CA bundle is no CA")
    return certificates


def verify_chain(chain_pem: bytes, bundle_pem: bytes, usage: Usage, now: datetime, *, server_name: str = "") -> None:
    """RFC 5280 path validation, as the other end of a connection does it; PkiError `chain-refused` says why not.

    A server is checked for `server_name`, a DNS name or an address; empty means the first of its own names.
    """
    leaf, *intermediates = load_certificates(chain_pem)
    store = verification.Store([authority.parsed for authority in load_authorities(bundle_pem)])
    leaf_policy = verification.ExtensionPolicy.webpki_defaults_ee()
    if usage is Usage.CLIENT:
        # Clients are named by their subject, as Kubernetes reads it, and carry no alternative names.
        leaf_policy = leaf_policy.may_be_present(x509.SubjectAlternativeName, verification.Criticality.AGNOSTIC, None)
    builder = (
        verification.PolicyBuilder()
        .store(store)
        .time(now)
        .extension_policies(ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(), ee_policy=leaf_policy)
    )
    path = [certificate.parsed for certificate in intermediates]
    try:
        if usage is Usage.CLIENT:
            builder.build_client_verifier().verify(leaf.parsed, path)
        else:
            builder.build_server_verifier(_server_subject(leaf, server_name)).verify(leaf.parsed, path)
    except verification.VerificationError as error:
        raise PkiError("chain-refused", f"{leaf.common_name!r} as {usage.value}: {error}") from error


def _server_subject(leaf: Certificate, server_name: str) -> verification.Subject:
    # An alternative name reads "DNS:a" or "IP:10.0.0.1"; without any, no name will do.
    name = server_name or next((text.partition(":")[2] for text in leaf.alternative_names), "no-name.invalid")
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
