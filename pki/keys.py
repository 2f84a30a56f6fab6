"""Private and public keys: make, dump, load, fingerprint."""

import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

from pki.errors import PkiError

# The two abstract classes that cryptography signs X.509 with: a key in KMS is a subclass of one of them.
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

# All that cryptography 50 raised for 240 000 damaged keys (tests/pki/test_hostile.py keeps asking).
UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)

_CURVES = ("secp256r1", "secp384r1")
_RSA_BITS = range(2048, 4097)
_ALLOWED = "EC P-256 or P-384, or RSA of 2048 to 4096 bits with exponent 65537"
_LONGEST_PEM = 65_536


@dataclass(frozen=True, slots=True)
class PrivateKeyPem:
    """An unencrypted PKCS#8 PEM. Its repr is empty, so that no log line can show the key."""

    pem: bytes = field(repr=False)


def make_key() -> PrivateKeyPem:
    """A new P-256 key, for every authority and every leaf."""
    return dump_private_key(ec.generate_private_key(ec.SECP256R1()))


def make_service_account_key() -> PrivateKeyPem:
    """A new RSA-2048 key: some OIDC relying parties accept service account tokens in RS256 only (etcd-pki.md 3.3)."""
    return dump_private_key(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def dump_private_key(key: PrivateKey) -> PrivateKeyPem:
    """PKCS#8, the one format that etcd, kube-apiserver and its service account flags all read."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return PrivateKeyPem(pem)


def load_private_key(pem: PrivateKeyPem) -> PrivateKey:
    """The key; PkiError `key-unreadable` or `key-refused`."""
    try:
        key = serialization.load_pem_private_key(bounded(pem.pem), password=None)
    except UNREADABLE:
        # `from None`: parser errors may quote the input, and this input is a secret.
        raise PkiError(
            "key-unreadable", "the private key is not an unencrypted PEM", remedy="generate it again"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise PkiError("key-refused", f"a private key of type {type(key).__name__}; allowed: {_ALLOWED}")
    accept(key.public_key())
    return key


def dump_public_key(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo as PEM ("PUBLIC KEY"), as kube-apiserver's --service-account-key-file reads it."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def load_public_key(pem: bytes) -> PublicKey:
    """The key; PkiError `key-unreadable` or `key-refused`."""
    try:
        key = serialization.load_pem_public_key(bounded(pem))
    except UNREADABLE as error:
        raise PkiError("key-unreadable", f"the public key is not a PEM: {error}") from error
    return accept(key)


def public_key_pem(key: PrivateKeyPem) -> bytes:
    """The public half of a private key, as PEM."""
    return dump_public_key(load_private_key(key).public_key())


def accept(key: PublicKeyTypes) -> PublicKey:
    """The same key if it is of a kind and size that a certificate may carry, else PkiError `key-refused`."""
    match key:
        case ec.EllipticCurvePublicKey():
            if key.curve.name in _CURVES:
                return key
            found = f"curve {key.curve.name}"
        case rsa.RSAPublicKey():
            exponent = key.public_numbers().e
            # A huge exponent makes every verification slow: refused before any signature is looked at.
            if key.key_size in _RSA_BITS and exponent == 65537:
                return key
            found = f"RSA of {key.key_size} bits with an exponent of {exponent.bit_length()} bits"
        case _:
            found = type(key).__name__
    raise PkiError("key-refused", f"a public key of kind {found}; allowed: {_ALLOWED}")


def spki_sha256(key: PublicKey) -> str:
    """Lower-case hex SHA-256 of the DER SubjectPublicKeyInfo: the name of a key across certificates."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def bounded(pem: bytes) -> bytes:
    """The same bytes, unless they are too many to hand to a parser."""
    if len(pem) > _LONGEST_PEM:
        raise PkiError("pem-too-long", f"a PEM of {len(pem)} bytes; allowed: at most {_LONGEST_PEM}")
    return pem
