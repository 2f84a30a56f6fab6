"""A certificate that exists: what it says, and the file that holds it together with its key."""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pki.errors import PkiError
from pki.keys import PrivateKeyPem, PublicKey, accept, bounded, load_private_key, spki_sha256
from pki.profiles import Usage
from pki.request import UNREADABLE_X509, alternative_name_texts

_USAGES = {
    ExtendedKeyUsageOID.SERVER_AUTH: Usage.SERVER.value,
    ExtendedKeyUsageOID.CLIENT_AUTH: Usage.CLIENT.value,
}
# Base64 holds no hyphen, so a block without its end cannot swallow the next one.
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----\s[^-]*-----END \1-----\r?\n?")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A parsed certificate. `usages` holds "server", "client" or a dotted OID; fingerprints are lower-case hex."""

    common_name: str
    organizations: tuple[str, ...]
    issuer: str  # the common name of the authority
    alternative_names: tuple[str, ...]  # "DNS:a", "IP:10.0.0.1"
    usages: tuple[str, ...]
    is_authority: bool
    not_before: datetime
    not_after: datetime
    serial: str
    sha256: str
    spki_sha256: str
    pem: bytes = field(repr=False)
    parsed: x509.Certificate = field(repr=False, compare=False)

    @property
    def public_key(self) -> PublicKey:
        return accept(self.parsed.public_key())

    @property
    def key_identifier(self) -> str:
        """Hex of the subject key identifier; empty without one. It tells two authorities of one name apart."""
        try:
            found = self.parsed.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return ""
        return found.digest.hex()

    @property
    def signer_identifier(self) -> str:
        """Hex of the authority key identifier: the `key_identifier` of whoever signed; empty without one."""
        try:
            found = self.parsed.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        except x509.ExtensionNotFound:
            return ""
        return (found.key_identifier or b"").hex()

    @property
    def lifetime(self) -> timedelta:
        return self.not_after - self.not_before

    def days_left(self, now: datetime) -> int:
        """Whole days until it expires: 0 on the last day, negative once it has expired."""
        return (self.not_after - now).days

    def life_left(self, now: datetime) -> float:
        """The part of its life still to come: 1.0 when just issued, 0.0 or less once it has expired."""
        return (self.not_after - now) / self.lifetime


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate chain, leaf first, and the private key of the leaf: what one combined PEM file holds."""

    chain: tuple[Certificate, ...]
    key: PrivateKeyPem

    @property
    def leaf(self) -> Certificate:
        return self.chain[0]

    @property
    def key_matches(self) -> bool:
        return spki_sha256(load_private_key(self.key).public_key()) == self.leaf.spki_sha256


def load_certificates(pem: bytes) -> tuple[Certificate, ...]:
    """Every certificate of a PEM in its order, at least one; PkiError `certificate-unreadable`, or `key-refused`."""
    certificates, keys = _split(pem)
    if keys:
        raise PkiError("certificate-unreadable", "a private key lies among the certificates")
    return certificates


def load_certificate(pem: bytes) -> Certificate:
    """The only certificate of a PEM."""
    certificates = load_certificates(pem)
    if len(certificates) != 1:
        raise PkiError("certificate-unreadable", f"{len(certificates)} certificates in the PEM; allowed: one")
    return certificates[0]


def combine(chain_pem: bytes, key: PrivateKeyPem) -> bytes:
    """One PEM of chain and key, for both flags of a server: a rename switches the pair at once (etcd-pki.md 3.4).

    The result is secret. PkiError `key-mismatch` unless the key is the leaf's.
    """
    credential = Credential(load_certificates(chain_pem), key)
    if not credential.key_matches:
        raise PkiError("key-mismatch", f"the private key is not that of {credential.leaf.common_name!r}")
    return b"".join(certificate.pem for certificate in credential.chain) + key.pem


def load_credential(combined_pem: bytes) -> Credential:
    """The parts of a combined PEM; whether they fit is `key_matches`. PkiError `certificate-unreadable`."""
    chain, keys = _split(combined_pem)
    if len(keys) != 1:
        raise PkiError("certificate-unreadable", f"{len(keys)} private keys in the combined PEM; allowed: one")
    return Credential(chain, PrivateKeyPem(keys[0]))


def _split(pem: bytes) -> tuple[tuple[Certificate, ...], tuple[bytes, ...]]:
    blocks = [(match[1], match[0]) for match in _BLOCK.finditer(bounded(pem))]
    # A half-written file has a beginning without an end.
    if len(blocks) != pem.count(b"-----BEGIN "):
        raise PkiError("certificate-unreadable", "the PEM is incomplete", remedy="issue the certificate again")
    certificates = tuple(_parse(block) for label, block in blocks if label == b"CERTIFICATE")
    if not certificates:
        raise PkiError("certificate-unreadable", "no certificate in the PEM", remedy="issue it again")
    return certificates, tuple(block for label, block in blocks if label != b"CERTIFICATE")


def _parse(pem: bytes) -> Certificate:
    try:
        parsed = x509.load_pem_x509_certificate(pem)
        return Certificate(
            common_name=_common_name(parsed.subject),
            organizations=_attributes(parsed.subject, NameOID.ORGANIZATION_NAME),
            issuer=_common_name(parsed.issuer),
            alternative_names=alternative_name_texts(parsed),
            usages=_usages(parsed),
            is_authority=_is_authority(parsed),
            not_before=parsed.not_valid_before_utc,
            not_after=parsed.not_valid_after_utc,
            serial=f"{parsed.serial_number:x}",
            sha256=parsed.fingerprint(hashes.SHA256()).hex(),
            spki_sha256=spki_sha256(accept(parsed.public_key())),
            pem=parsed.public_bytes(serialization.Encoding.PEM),
            parsed=parsed,
        )
    except UNREADABLE_X509 as error:
        raise PkiError("certificate-unreadable", f"not an X.509 certificate: {error}") from error


def _attributes(name: x509.Name, oid: x509.ObjectIdentifier) -> tuple[str, ...]:
    return tuple(str(attribute.value) for attribute in name.get_attributes_for_oid(oid))


def _common_name(name: x509.Name) -> str:
    return ", ".join(_attributes(name, NameOID.COMMON_NAME))


def _usages(parsed: x509.Certificate) -> tuple[str, ...]:
    try:
        extension = parsed.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return ()
    return tuple(_USAGES.get(oid, oid.dotted_string) for oid in extension.value)


def _is_authority(parsed: x509.Certificate) -> bool:
    try:
        return parsed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
