"""What a certificate shall say, decided before any key exists; and the CSR that proves who holds the key."""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtensionOID, NameOID

from pki.errors import PkiError
from pki.keys import UNREADABLE, PrivateKeyPem, PublicKey, accept, bounded, load_private_key
from pki.names import address_order, normal_dns_name, normal_ip_address
from pki.profiles import PROFILES, AuthorityName, Profile, Usage

# All that cryptography 50 raised for 240 000 damaged certificates and CSRs (tests/pki/test_hostile.py keeps asking).
UNREADABLE_X509 = (
    *UNREADABLE,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_SHORTEST_LIFETIME = timedelta(minutes=5)
_LONGEST_COMMON_NAME = 64  # RFC 5280 appendix A.1, ub-common-name
_MOST_NAMES = 100
_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._:/+-]{0,63}")  # 64: ub-common-name, ub-organization-name
_RESERVED = ("system:", "bootwright:agent")
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRequest:
    """One certificate to issue. It holds only what its profile leaves open; the rest cannot be asked for.

    `name` is the node's, etcd member's or person's name, given exactly when the profile takes one; `groups` only a
    person has. `dns_names` and
    `ip_addresses` are what is added to the profile's own; they are stored complete, normalised, sorted and without
    duplicates, so that equal requests are equal values. A `lifetime` of zero becomes the profile's.
    PkiError `request-refused` names everything that is wrong at once.
    """

    profile: str
    name: str = ""
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    lifetime: timedelta = timedelta()

    def __post_init__(self) -> None:
        profile = PROFILES.get(self.profile)
        if profile is None:
            allowed = ", ".join(PROFILES)
            raise PkiError("request-refused", f"certificate profile {self.profile!r}; allowed: {allowed}")
        lifetime = self.lifetime or profile.lifetime
        problems = [
            *_name_problems(profile, self.name),
            *_group_problems(profile, self.groups),
            *_alternative_name_problems(profile, self.dns_names, self.ip_addresses),
            *_lifetime_problems(profile, lifetime),
        ]
        if problems:
            raise PkiError("request-refused", f"certificate {self.profile!r}: {'; '.join(problems)}")
        dns_names = {text.format(name=self.name) for text in profile.dns_names}
        dns_names |= {normal_dns_name(text) for text in self.dns_names}
        addresses = {normal_ip_address(text) for text in (*self.ip_addresses, *profile.ip_addresses)}
        object.__setattr__(self, "groups", tuple(sorted(set(self.groups))))
        object.__setattr__(self, "dns_names", tuple(sorted(dns_names)))
        object.__setattr__(self, "ip_addresses", tuple(sorted(addresses, key=address_order)))
        object.__setattr__(self, "lifetime", lifetime)

    @property
    def authority(self) -> AuthorityName:
        return PROFILES[self.profile].authority

    @property
    def common_name(self) -> str:
        return PROFILES[self.profile].common_name.format(name=self.name)

    @property
    def organizations(self) -> tuple[str, ...]:
        return (*PROFILES[self.profile].organizations, *self.groups)

    @property
    def usages(self) -> tuple[Usage, ...]:
        return PROFILES[self.profile].usages


def subject_of(request: CertificateRequest) -> x509.Name:
    """Organizations, then the common name: the order of Go's pkix.Name, which Kubernetes writes."""
    organizations = (x509.NameAttribute(NameOID.ORGANIZATION_NAME, text) for text in request.organizations)
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, request.common_name)])


def alternative_names_of(request: CertificateRequest) -> x509.SubjectAlternativeName | None:
    """The SAN extension, names before addresses; None when the request has neither."""
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in request.dns_names]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in request.ip_addresses]
    return x509.SubjectAlternativeName(names) if names else None


def build_csr(request: CertificateRequest, key: PrivateKeyPem) -> bytes:
    """A PEM CSR that asks for exactly this request, signed by the key."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject_of(request))
    if (names := alternative_names_of(request)) is not None:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(load_private_key(key), hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def csr_public_key(csr_pem: bytes) -> PublicKey:
    """The key of a CSR whose sender proved to hold it. Its names are not looked at: an issuer makes its own.

    PkiError `csr-unreadable`, `key-refused` or `csr-refused`.
    """
    return _proven(csr_pem)[1]


def check_csr(csr_pem: bytes, request: CertificateRequest) -> PublicKey:
    """The key of a CSR that asks for exactly this request: no other subject, name or extension.

    PkiError as `csr_public_key`; the message of `csr-refused` names every difference.
    """
    csr, key = _proven(csr_pem)
    try:
        problems = [*subject_and_name_problems(csr, request)]
        problems += [
            f"extension {extension.oid.dotted_string}, allowed: subjectAltName only"
            for extension in csr.extensions
            if extension.oid != ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        ]
    except UNREADABLE_X509 as error:
        raise PkiError("csr-unreadable", f"the CSR has unreadable extensions: {error}") from error
    if problems:
        raise PkiError("csr-refused", f"the CSR for {request.profile!r} differs: {'; '.join(problems)}")
    return key


def asked_for(profile: str, csr_pem: bytes, lifetime: timedelta) -> CertificateRequest:
    """The request that a CSR was built from. Only who may believe the CSR's own names asks so. PkiError as above."""
    csr, _key = _proven(csr_pem)
    prefix, _, _ = PROFILES[profile].common_name.partition("{name}")
    common_name = "".join(str(found.value) for found in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    texts = alternative_name_texts(csr)
    return CertificateRequest(
        profile=profile,
        name=common_name.removeprefix(prefix) if PROFILES[profile].takes_name else "",
        dns_names=tuple(text.removeprefix("DNS:") for text in texts if text.startswith("DNS:")),
        ip_addresses=tuple(text.removeprefix("IP:") for text in texts if text.startswith("IP:")),
        lifetime=lifetime,
    )


def subject_and_name_problems(
    found: x509.Certificate | x509.CertificateSigningRequest, request: CertificateRequest
) -> Iterator[str]:
    """Every difference between the names found and the names requested, one text each. Order is no difference."""
    subject = subject_of(request)
    if found.subject != subject:
        yield f"subject is {found.subject.rfc4514_string()!r}, not {subject.rfc4514_string()!r}"
    wanted = alternative_names_of(request)
    wanted_names = {general_name_text(name) for name in wanted or ()}
    found_names = set(alternative_name_texts(found))
    if missing := wanted_names - found_names:
        yield f"alternative names are missing: {', '.join(sorted(missing))}"
    if surplus := found_names - wanted_names:
        yield f"alternative names are not wanted: {', '.join(sorted(surplus))}"


def alternative_name_texts(found: x509.Certificate | x509.CertificateSigningRequest) -> tuple[str, ...]:
    """`DNS:a`, `IP:10.0.0.1` in the order found; any other kind as its type and value, so that none goes unseen."""
    try:
        extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(general_name_text(name) for name in extension.value)


def general_name_text(name: x509.GeneralName) -> str:
    match name:
        case x509.DNSName():
            return f"DNS:{name.value}"
        case x509.IPAddress():
            return f"IP:{name.value}"
        case _:
            return f"{type(name).__name__}:{name.value}"


def _proven(csr_pem: bytes) -> tuple[x509.CertificateSigningRequest, PublicKey]:
    try:
        csr = x509.load_pem_x509_csr(bounded(csr_pem))
        # The key first: checking a signature with a hostile key can cost seconds.
        key = accept(csr.public_key())
        weak = not isinstance(csr.signature_hash_algorithm, _HASHES)
        forged = weak or not csr.is_signature_valid
    except UNREADABLE_X509 as error:
        raise PkiError("csr-unreadable", f"the CSR is not a readable PEM: {error}") from error
    if forged:
        raise PkiError(
            "csr-refused",
            "the CSR is not signed by its own key with SHA-256, SHA-384 or SHA-512",
            remedy="build the CSR again from the node's own key",
        )
    return csr, key


def _name_problems(profile: Profile, name: str) -> Iterator[str]:
    if not profile.takes_name:
        if name:
            yield f"name: {name!r}; allowed: none, this certificate is the same on every node"
        return
    if profile.names_person:
        yield from _spelling_problems("name", (name,), _persons_name)
        return
    yield from _spelling_problems("name", (name,), normal_dns_name)
    # A node name is compared letter by letter by the Node authorizer: nothing is normalised behind the caller's back.
    if name != name.lower().removesuffix("."):
        yield f"name: {name!r}; allowed: lower case, no final dot"
    common_name = profile.common_name.format(name=name)
    if len(common_name) > _LONGEST_COMMON_NAME:
        yield f"name: {common_name!r} has {len(common_name)} characters; allowed: {_LONGEST_COMMON_NAME} (RFC 5280)"


def _group_problems(profile: Profile, groups: tuple[str, ...]) -> Iterator[str]:
    if groups and not profile.names_person:
        yield f"groups: {', '.join(groups)}; allowed: none, RBAC knows this certificate by its profile's own"
    if len(groups) > _MOST_NAMES:
        yield f"groups: {len(groups)}; allowed: {_MOST_NAMES}"
    yield from _spelling_problems("groups", groups, _persons_name)


def _persons_name(text: str) -> str:
    """A user or group as RBAC writes it; ValueError says what is wrong."""
    if not _PERSON.fullmatch(text):
        raise ValueError("not 1 to 64 letters, digits and @._:/+-, beginning with a letter or digit")
    if text.casefold().startswith(_RESERVED):
        raise ValueError("belongs to Kubernetes or to bootwright's own agents")
    return text


def _alternative_name_problems(
    profile: Profile, dns_names: tuple[str, ...], ip_addresses: tuple[str, ...]
) -> Iterator[str]:
    if Usage.SERVER not in profile.usages and (dns_names or ip_addresses):
        yield "dns_names, ip_addresses: allowed: none in a client certificate"
    if len(dns_names) + len(ip_addresses) > _MOST_NAMES:
        yield f"dns_names, ip_addresses: {len(dns_names) + len(ip_addresses)}; allowed: {_MOST_NAMES} together"
    yield from _spelling_problems("dns_names", dns_names, normal_dns_name)
    yield from _spelling_problems("ip_addresses", ip_addresses, normal_ip_address)
    if profile.wants_address and set(ip_addresses) <= set(profile.ip_addresses):
        yield "ip_addresses: none; allowed: one or more, its peers connect to an address"


def _spelling_problems(field: str, texts: tuple[str, ...], normal: Callable[[str], str]) -> Iterator[str]:
    for text in texts:
        try:
            normal(text)
        except ValueError as error:
            yield f"{field}: {text!r}: {error}"


def _lifetime_problems(profile: Profile, lifetime: timedelta) -> Iterator[str]:
    if not _SHORTEST_LIFETIME <= lifetime <= profile.longest_lifetime:
        yield f"lifetime: {lifetime}; allowed: {_SHORTEST_LIFETIME} to {profile.longest_lifetime}"
