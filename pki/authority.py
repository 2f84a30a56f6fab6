"""A certificate authority: its certificate, its signing key, and what it will sign."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pki.certificate import Certificate, load_certificate
from pki.errors import PkiError
from pki.keys import PrivateKey, PrivateKeyPem, PublicKey, accept, load_private_key, make_key, spki_sha256
from pki.profiles import AUTHORITIES, AUTHORITY_LIFETIME, BACKDATE, AuthorityName, Usage, authority_common_name
from pki.request import CertificateRequest, alternative_names_of, subject_of

_BY_COMMON_NAME = {authority_common_name(name): name for name in AUTHORITIES}
_USAGES = {Usage.SERVER: ExtendedKeyUsageOID.SERVER_AUTH, Usage.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA that can sign. The key may live elsewhere (KMS): any subclass of cryptography's abstract key will do.

    PkiError `authority-refused` if the certificate is no CA of `pki.profiles`, `key-mismatch` if the key is another's.
    """

    certificate: Certificate
    key: PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        found = self.certificate.common_name
        if not self.certificate.is_authority or found not in _BY_COMMON_NAME:
            allowed = ", ".join(_BY_COMMON_NAME)
            raise PkiError("authority-refused", f"{found!r} is no CA of a cluster; allowed: {allowed}")
        if spki_sha256(self.key.public_key()) != self.certificate.spki_sha256:
            raise PkiError(
                "key-mismatch",
                f"the private key is not that of {found!r}",
                remedy="the stored CA was swapped or half replaced: restore key and certificate together",
            )

    @classmethod
    def create(
        cls,
        name: AuthorityName,
        now: datetime,
        *,
        lifetime: timedelta = AUTHORITY_LIFETIME,
        key: PrivateKey | None = None,
    ) -> Self:
        """A new self-signed CA for leaves only, with a new P-256 key unless one is given."""
        if name not in AUTHORITIES:
            raise PkiError("authority-refused", f"authority {name!r}; allowed: {', '.join(AUTHORITIES)}")
        if key is None:
            key = load_private_key(make_key())
        public_key = accept(key.public_key())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, authority_common_name(name))])
        identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
        builder = (
            _builder(subject, subject, public_key)
            .not_valid_before(_utc(now) - BACKDATE)
            .not_valid_after(_utc(now) + lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        )
        return cls(load_certificate(_sign(builder, key)), key)

    @classmethod
    def load(cls, certificate_pem: bytes, key: PrivateKeyPem) -> Self:
        return cls(load_certificate(certificate_pem), load_private_key(key))

    @property
    def name(self) -> AuthorityName:
        return _BY_COMMON_NAME[self.certificate.common_name]

    def issue(self, request: CertificateRequest, public_key: PublicKey, now: datetime) -> bytes:
        """The PEM certificate for a key, valid from an hour ago and never beyond the authority's own life.

        From a CSR: `issue(request, check_csr(csr_pem, request), now)`. PkiError `wrong-authority` if the request's
        profile is signed by another one, `authority-expired` outside the authority's life, `key-refused`.
        """
        if request.authority != self.name:
            raise PkiError(
                "wrong-authority", f"{self.name!r} does not sign {request.profile!r}; {request.authority!r} does"
            )
        not_before, not_after = self._leaf_life(request, _utc(now))
        accept(public_key)
        own = self.certificate.parsed.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            _builder(subject_of(request), self.certificate.parsed.subject, public_key)
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            # Key encipherment is RSA's alone; an elliptic key only signs (RFC 8813 section 3).
            .add_extension(
                _key_usage(
                    digital_signature=True, key_encipherment=not isinstance(public_key, ec.EllipticCurvePublicKey)
                ),
                critical=True,
            )
            .add_extension(x509.ExtendedKeyUsage([_USAGES[usage] for usage in request.usages]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        )
        if (names := alternative_names_of(request)) is not None:
            builder = builder.add_extension(names, critical=False)
        return _sign(builder, self.key)

    def _leaf_life(self, request: CertificateRequest, now: datetime) -> tuple[datetime, datetime]:
        own = self.certificate
        if not own.not_before <= now < own.not_after:
            raise PkiError(
                "authority-expired",
                f"{own.common_name!r} is valid from {own.not_before:%Y-%m-%dT%H:%MZ} to "
                f"{own.not_after:%Y-%m-%dT%H:%MZ}, now is {now:%Y-%m-%dT%H:%MZ}",
                remedy="check the machine's clock; rotate the CA if the clock is right",
            )
        return max(now - BACKDATE, own.not_before), min(now + request.lifetime, own.not_after)


def _utc(now: datetime) -> datetime:
    if now.tzinfo is None:
        raise ValueError("now must be an aware datetime")  # cryptography would take a naive one for UTC
    return now.astimezone(UTC)


def _builder(subject: x509.Name, issuer: x509.Name, public_key: PublicKey) -> x509.CertificateBuilder:
    # 128 random bits of cryptography's 159, and never zero (RFC 5280 4.1.2.2: positive, at most 20 octets).
    serial = max(1, x509.random_serial_number() >> 31)
    return (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key).serial_number(serial)
    )


def _sign(builder: x509.CertificateBuilder, key: PrivateKey) -> bytes:
    # The hash of the curve's own size: a P-384 key in KMS signs SHA-384 only.
    large = isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256
    certificate = builder.sign(key, hashes.SHA384() if large else hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
