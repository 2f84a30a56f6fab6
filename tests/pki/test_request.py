from dataclasses import FrozenInstanceError
from datetime import timedelta
from ipaddress import IPv4Address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import PkiError
from pki.keys import load_private_key, make_key, spki_sha256
from pki.profiles import PROFILES
from pki.request import CertificateRequest, build_csr, check_csr, csr_public_key

NODE = "i-0123456789abcdef0"
KUBELET = CertificateRequest(profile="kubelet-client", name=NODE)
SERVER = CertificateRequest(profile="kubelet-server", name=NODE, ip_addresses=("10.99.0.5",))


def refusal(**fields: object) -> str:
    with pytest.raises(PkiError) as caught:
        CertificateRequest(**fields)
    assert caught.value.code == "request-refused"
    return caught.value.message


def csr_pem(key, subject, *extensions, algorithm=None) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, algorithm or hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def subject(common_name: str = f"system:node:{NODE}", *organizations: str) -> x509.Name:
    organizations = organizations or ("system:nodes",)
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, text) for text in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def test_a_request_says_what_its_profile_says() -> None:
    assert SERVER.common_name == f"system:node:{NODE}"
    assert SERVER.organizations == ("system:nodes",)
    assert SERVER.usages == ("server",)
    assert SERVER.authority == "kubernetes"
    assert SERVER.lifetime == timedelta(days=365)
    assert SERVER.dns_names == (NODE,)


@given(
    st.permutations(["B.example", "a.example.", "a.example"]),
    st.permutations(["10.0.0.2", "::ffff:10.0.0.2", "10.0.0.10", "fd00::1", "FD00:0::1"]),
)
def test_order_case_and_repetition_make_no_other_request(names: list[str], addresses: list[str]) -> None:
    request = CertificateRequest(profile="etcd-peer", name="a", dns_names=tuple(names), ip_addresses=tuple(addresses))
    assert request.dns_names == ("a", "a.example", "b.example", "localhost")
    assert request.ip_addresses == ("10.0.0.2", "10.0.0.10", "127.0.0.1", "::1", "fd00::1")
    again = CertificateRequest(
        profile="etcd-peer", name="a", dns_names=request.dns_names, ip_addresses=request.ip_addresses
    )
    assert again == request


def test_a_request_cannot_be_changed_behind_its_checks() -> None:
    with pytest.raises(FrozenInstanceError):
        KUBELET.name = "i-1"  # type: ignore[misc]


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    message = refusal(profile="kublet", name=NODE)
    assert "'kublet'" in message
    assert all(name in message for name in PROFILES)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"profile": "kubelet-client"}, "name: '': not a DNS name"),
        ({"profile": "kubelet-client", "name": "system:masters"}, "name: 'system:masters': not a DNS name"),
        ({"profile": "kubelet-client", "name": "I-0ABC"}, "name: 'I-0ABC'; allowed: lower case"),
        ({"profile": "kubelet-client", "name": "i-0abc."}, "no final dot"),
        ({"profile": "kubelet-client", "name": "n" * 53}, "has 65 characters; allowed: 64"),
        ({"profile": "kube-proxy", "name": "a"}, "name: 'a'; allowed: none"),
        ({"profile": "kubelet-client", "name": "a", "dns_names": ("b",)}, "none in a client certificate"),
        ({"profile": "kubelet-client", "name": "a", "ip_addresses": ("10.0.0.1",)}, "none in a client certificate"),
        ({"profile": "kubelet-server", "name": "a"}, "ip_addresses: none; allowed: one or more"),
        ({"profile": "etcd-peer", "name": "a", "ip_addresses": ("127.0.0.1",)}, "ip_addresses: none"),
        ({"profile": "etcd-peer", "name": "a", "ip_addresses": ("a",)}, "ip_addresses: 'a'"),
        ({"profile": "etcd-peer", "name": "a", "ip_addresses": ("10.0.0.1",) * 101}, "101; allowed: 100 together"),
        ({"profile": "kube-scheduler-server", "dns_names": ("10.0.0.1",)}, "belongs into ip_addresses"),
        (
            {"profile": "kube-proxy", "lifetime": timedelta(minutes=4)},
            "lifetime: 0:04:00; allowed: 0:05:00 to 365 days",
        ),
        ({"profile": "kube-proxy", "lifetime": timedelta(days=366)}, "lifetime: 366 days"),
        ({"profile": "kube-proxy", "lifetime": timedelta(days=-1)}, "lifetime: -1 day"),
        ({"profile": "super-admin", "lifetime": timedelta(hours=19)}, "to 18:00:00"),
    ],
)
def test_what_a_profile_does_not_allow_is_refused(fields: dict[str, object], found: str) -> None:
    assert found in refusal(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"profile": "kubelet-client", "name": "n" * 52},
        {"profile": "etcd-peer", "name": "a", "dns_names": ("b",) * 50, "ip_addresses": ("10.0.0.1",) * 50},
        {"profile": "kube-proxy", "lifetime": timedelta(minutes=5)},
        {"profile": "kube-proxy", "lifetime": timedelta(days=365)},
        {"profile": "super-admin", "lifetime": timedelta(hours=18)},
    ],
)
def test_the_outermost_allowed_values_are_allowed(fields: dict[str, object]) -> None:
    CertificateRequest(**fields)


def test_names_and_addresses_are_counted_together() -> None:
    names, addresses = ("b",) * 50, ("10.0.0.1",) * 51
    assert "101; allowed: 100 together" in refusal(
        profile="etcd-peer", name="a", dns_names=names, ip_addresses=addresses
    )


def test_a_refusal_names_everything_at_once() -> None:
    message = refusal(
        profile="kubelet-server",
        name="A b",
        dns_names=("*.x",),
        ip_addresses=("0.0.0.0",),
        lifetime=timedelta(days=900),
    )
    assert all(
        text in message for text in ("name: 'A b'", "dns_names: '*.x'", "ip_addresses: '0.0.0.0'", "lifetime: 900 days")
    )


def test_the_longest_private_dns_name_of_ec2_fits_the_common_name() -> None:
    longest = "ip-255-255-255-255.ap-southeast-1.compute.internal"
    assert len(CertificateRequest(profile="kubelet-client", name=longest).common_name) == 62


@pytest.mark.parametrize("request_", [KUBELET, SERVER], ids=["client", "server"])
def test_a_csr_built_for_a_request_passes_its_check(request_: CertificateRequest) -> None:
    key = make_key()
    csr = build_csr(request_, key)
    proven = check_csr(csr, request_)
    assert spki_sha256(proven) == spki_sha256(load_private_key(key).public_key())
    assert spki_sha256(csr_public_key(csr)) == spki_sha256(proven)


def test_a_csr_with_its_names_in_another_order_passes() -> None:
    names = [x509.IPAddress(IPv4Address("10.99.0.5")), x509.DNSName(NODE)]
    csr = csr_pem(ec.generate_private_key(ec.SECP256R1()), subject(), x509.SubjectAlternativeName(names))
    check_csr(csr, SERVER)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ((subject(f"system:node:{NODE}", "system:masters"),), "subject is"),
        ((subject(f"system:node:{NODE}", "system:nodes", "system:masters"),), "subject is"),
        ((subject("system:node:i-2"),), "subject is"),
        ((x509.Name([]),), "subject is ''"),
        ((subject(), x509.SubjectAlternativeName([x509.DNSName("kubernetes")])), "not wanted: DNS:kubernetes"),
        (
            (subject(), x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://x")])),
            "UniformResourceIdentifier:spiffe://x",
        ),
        ((subject(), x509.BasicConstraints(ca=True, path_length=None)), "extension 2.5.29.19"),
        ((subject(), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])), "extension 2.5.29.37"),
    ],
    ids=["masters", "masters too", "other node", "no subject", "extra name", "URI", "CA:TRUE", "other usage"],
)
def test_a_csr_that_asks_for_more_is_refused(asked: tuple, found: str) -> None:
    csr = csr_pem(ec.generate_private_key(ec.SECP256R1()), *asked)
    with pytest.raises(PkiError, match=found) as caught:
        check_csr(csr, KUBELET)
    assert caught.value.code == "csr-refused"
    # An issuer that makes the names itself only needs the key, and gets nothing but the key.
    assert isinstance(csr_public_key(csr), ec.EllipticCurvePublicKey)


def test_a_csr_that_lacks_a_name_is_refused() -> None:
    csr = csr_pem(ec.generate_private_key(ec.SECP256R1()), subject(), x509.SubjectAlternativeName([x509.DNSName(NODE)]))
    with pytest.raises(PkiError, match=r"missing: IP:10\.99\.0\.5"):
        check_csr(csr, SERVER)


def test_a_csr_whose_names_are_garbage_is_refused() -> None:
    garbage = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"garbage")
    with pytest.raises(PkiError, match="unreadable extensions") as caught:
        check_csr(csr_pem(ec.generate_private_key(ec.SECP256R1()), subject(), garbage), SERVER)
    assert caught.value.code == "csr-unreadable"


def test_a_csr_with_a_weak_key_is_refused() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    with pytest.raises(PkiError, match="RSA of 1024 bits") as caught:
        csr_public_key(csr_pem(weak, subject()))
    assert caught.value.code == "key-refused"


def test_a_csr_signed_by_another_key_is_refused() -> None:
    mine, theirs = (build_csr(KUBELET, make_key()) for _ in range(2))
    mine, theirs = (x509.load_pem_x509_csr(pem) for pem in (mine, theirs))
    info = theirs.tbs_certrequest_bytes
    der = mine.public_bytes(serialization.Encoding.DER)
    at = der.index(mine.tbs_certrequest_bytes)
    forged = der[:at] + info + der[at + len(info) :]
    pem = x509.load_der_x509_csr(forged).public_bytes(serialization.Encoding.PEM)
    for check in (csr_public_key, lambda csr: check_csr(csr, KUBELET)):
        with pytest.raises(PkiError, match="not signed by its own key") as caught:
            check(pem)
        assert caught.value.code == "csr-refused"


def test_a_csr_with_a_weak_hash_is_refused() -> None:
    csr = csr_pem(ec.generate_private_key(ec.SECP256R1()), subject(), algorithm=hashes.SHA224())
    with pytest.raises(PkiError, match="SHA-256"):
        csr_public_key(csr)


def test_what_is_no_csr_is_refused() -> None:
    key = make_key()
    for pem in (b"", b"x", key.pem, build_csr(KUBELET, key)[:-60], build_csr(KUBELET, key).replace(b"NEW ", b"")[5:]):
        with pytest.raises(PkiError) as caught:
            csr_public_key(pem)
        assert caught.value.code == "csr-unreadable"
