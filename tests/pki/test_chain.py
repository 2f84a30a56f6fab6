from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pki.authority import Authority
from pki.certificate import load_certificate
from pki.chain import bundle, load_authorities, verify_chain
from pki.errors import PkiError
from pki.keys import load_private_key
from pki.profiles import PROFILES, Usage

EVERY_USE = [(name, usage) for name, profile in PROFILES.items() for usage in profile.usages]
NO_USE = [(name, usage) for name, profile in PROFILES.items() for usage in Usage if usage not in profile.usages]


@pytest.mark.parametrize(("name", "usage"), EVERY_USE)
def test_every_certificate_chains_to_its_own_authority_alone(cluster, name: str, usage: Usage) -> None:
    issued = cluster.issue(name)
    for authority in cluster.authorities.values():
        if authority.name == PROFILES[name].authority:
            verify_chain(issued.pem, authority.certificate.pem, usage, cluster.now)
        else:
            with pytest.raises(PkiError) as caught:
                verify_chain(issued.pem, authority.certificate.pem, usage, cluster.now)
            assert caught.value.code == "chain-refused"


@pytest.mark.parametrize(("name", "usage"), NO_USE)
def test_no_certificate_serves_another_use(cluster, name: str, usage: Usage) -> None:
    issued = cluster.issue(name)
    with pytest.raises(PkiError, match=f"as {usage.value}"):
        verify_chain(issued.pem, issued.bundle, usage, cluster.now)


def test_a_server_answers_to_each_of_its_names_and_no_other(cluster) -> None:
    issued = cluster.issue("apiserver", dns_names=("api.demo.example",))
    for name in (*issued.request.dns_names, *issued.request.ip_addresses):
        verify_chain(issued.pem, issued.bundle, Usage.SERVER, cluster.now, server_name=name)
    for name in ("demo.example", "10.99.0.6", "kube-apiserver"):
        with pytest.raises(PkiError, match="'kube-apiserver' as server"):
            verify_chain(issued.pem, issued.bundle, Usage.SERVER, cluster.now, server_name=name)


@pytest.mark.parametrize("offset", [timedelta(hours=-2), timedelta(days=365, seconds=1)], ids=["early", "late"])
def test_outside_its_life_a_certificate_chains_to_nothing(cluster, offset: timedelta) -> None:
    issued = cluster.issue("kube-proxy")
    with pytest.raises(PkiError, match="as client"):
        verify_chain(issued.pem, issued.bundle, Usage.CLIENT, cluster.now + offset)


def test_while_an_authority_is_replaced_leaves_of_both_are_trusted(cluster) -> None:
    old, new = cluster.authorities["kubernetes"], Authority.create("kubernetes", cluster.now)
    both = bundle(new.certificate.pem, old.certificate.pem)
    for authority in (old, new):
        issued = cluster.issue("apiserver", by=authority)
        verify_chain(issued.pem, both, Usage.SERVER, cluster.now)
    with pytest.raises(PkiError):
        verify_chain(issued.pem, old.certificate.pem, Usage.SERVER, cluster.now)


def test_a_bundle_keeps_its_order_and_holds_each_authority_once(cluster) -> None:
    first, second = (cluster.authorities[name].certificate.pem for name in ("etcd-peers", "etcd-clients"))
    both = bundle(first, second)
    assert both == first + second
    assert bundle(both, second, first) == both
    assert [authority.common_name for authority in load_authorities(both)] == ["etcd-peers-ca", "etcd-clients-ca"]


def test_a_leaf_does_not_enter_a_bundle(cluster) -> None:
    with pytest.raises(PkiError, match="'kubernetes-admin' in the CA bundle is no CA") as caught:
        bundle(cluster.authorities["kubernetes"].certificate.pem, cluster.issue("admin").pem)
    assert caught.value.code == "authority-refused"


def signed_with(key, issuer: x509.Name, cluster, *, ca: bool) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    """What a thief of any one key would make: every extension in order, only the right to sign is missing."""
    own = ec.generate_private_key(ec.SECP256R1())
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "forged")]))
        .issuer_name(issuer)
        .public_key(own.public_key())
        .serial_number(5)
        .not_valid_before(cluster.now - timedelta(hours=1))
        .not_valid_after(cluster.now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    if not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), own


def test_the_key_of_a_leaf_vouches_for_nobody(cluster) -> None:
    leaf = cluster.issue("admin")
    forged, _ = signed_with(load_private_key(leaf.key), load_certificate(leaf.pem).parsed.subject, cluster, ca=False)
    with pytest.raises(PkiError, match="'forged' as client"):
        verify_chain(forged + leaf.pem, leaf.bundle, Usage.CLIENT, cluster.now)


def test_a_certificate_of_the_forgers_making_passes_when_the_authority_signs_it(cluster) -> None:
    """The proof that the two refusals around this test come from the right to sign, and from nothing else."""
    authority = cluster.authorities["kubernetes"]
    signed, _ = signed_with(authority.key, authority.certificate.parsed.subject, cluster, ca=False)
    verify_chain(signed, authority.certificate.pem, Usage.CLIENT, cluster.now)


def test_an_authority_vouches_for_no_further_authority(cluster) -> None:
    authority = cluster.authorities["kubernetes"]
    middle, key = signed_with(authority.key, authority.certificate.parsed.subject, cluster, ca=True)
    forged, _ = signed_with(key, load_certificate(middle).parsed.subject, cluster, ca=False)
    verify_chain(forged, middle, Usage.CLIENT, cluster.now)
    with pytest.raises(PkiError, match="'forged' as client"):
        verify_chain(forged + middle, authority.certificate.pem, Usage.CLIENT, cluster.now)
