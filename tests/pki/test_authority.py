import functools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from pki.authority import Authority
from pki.certificate import load_certificate
from pki.chain import verify_chain
from pki.errors import PkiError
from pki.keys import dump_private_key, load_private_key, make_key, make_service_account_key
from pki.profiles import AUTHORITIES, PROFILES, Usage
from pki.request import build_csr, check_csr

HOUR = timedelta(hours=1)


class RemoteKeyDouble(ec.EllipticCurvePrivateKey):
    """Stands for a key in KMS: it signs and tells its public half, and never gives itself away."""

    def __init__(self, curve: ec.EllipticCurve) -> None:
        self._key = ec.generate_private_key(curve)
        self.hashes: list[str] = []

    def sign(self, data, signature_algorithm):
        self.hashes.append(signature_algorithm.algorithm.name)
        return self._key.sign(data, signature_algorithm)

    def public_key(self):
        return self._key.public_key()

    @property
    def curve(self):
        return self._key.curve

    @property
    def key_size(self):
        return self._key.key_size

    def _never(self, *arguments, **options):
        raise AssertionError("a remote key was asked to leave KMS")

    exchange = private_numbers = private_bytes = __copy__ = __deepcopy__ = _never


def extension(pem_or_certificate, kind):
    parsed = (
        pem_or_certificate.parsed
        if hasattr(pem_or_certificate, "parsed")
        else load_certificate(pem_or_certificate).parsed
    )
    return parsed.extensions.get_extension_for_class(kind)


@pytest.mark.parametrize("name", AUTHORITIES)
def test_a_new_authority_signs_leaves_and_nothing_else(cluster, name: str) -> None:
    certificate = cluster.authorities[name].certificate
    assert certificate.common_name == f"{name}-ca"
    assert cluster.authorities[name].name == name
    assert certificate.not_before == cluster.now - HOUR
    assert certificate.not_after == cluster.now + timedelta(days=3650)
    constraints = extension(certificate, x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    usage = extension(certificate, x509.KeyUsage)
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.crl_sign, usage.value.digital_signature) == (True, True, False)


def test_an_authority_never_shows_its_key(cluster) -> None:
    authority = cluster.authorities["kubernetes"]
    assert "PRIVATE" not in repr(authority)
    assert "key=" not in repr(authority)


def test_an_authority_survives_dump_and_load(cluster) -> None:
    authority = cluster.authorities["etcd-peers"]
    loaded = Authority.load(authority.certificate.pem, dump_private_key(authority.key))
    assert loaded.name == "etcd-peers"
    assert loaded.certificate == authority.certificate


def test_an_unknown_authority_is_not_created(cluster) -> None:
    with pytest.raises(PkiError, match="authority 'etcd'; allowed: kubernetes, etcd-peers"):
        Authority.create("etcd", cluster.now)


def test_a_leaf_is_no_authority_even_with_its_own_key(cluster) -> None:
    leaf = cluster.issue("admin")
    with pytest.raises(PkiError, match="'kubernetes-admin' is no CA") as caught:
        Authority.load(leaf.pem, leaf.key)
    assert caught.value.code == "authority-refused"


def test_an_authority_of_another_name_is_refused(cluster) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evil-ca")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(cluster.now).not_valid_after(cluster.now + HOUR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    with pytest.raises(PkiError, match="'evil-ca' is no CA of a cluster"):
        Authority.load(certificate.public_bytes(serialization.Encoding.PEM), dump_private_key(key))


def test_a_swapped_authority_key_is_refused(cluster) -> None:
    with pytest.raises(PkiError, match="not that of 'kubernetes-ca'") as caught:
        Authority.load(cluster.authorities["kubernetes"].certificate.pem, make_key())
    assert caught.value.code == "key-mismatch"


@pytest.mark.parametrize("name", PROFILES)
def test_a_leaf_says_exactly_what_was_requested(cluster, name: str) -> None:
    issued = cluster.issue(name)
    leaf, request = load_certificate(issued.pem), issued.request
    assert (leaf.common_name, leaf.organizations) == (request.common_name, request.organizations)
    assert leaf.usages == request.usages
    names = [f"DNS:{name}" for name in request.dns_names] + [f"IP:{address}" for address in request.ip_addresses]
    assert leaf.alternative_names == tuple(names)
    assert leaf.issuer == f"{PROFILES[name].authority}-ca"
    assert leaf.not_before == cluster.now - HOUR
    assert leaf.not_after == cluster.now + request.lifetime
    assert not leaf.is_authority


@pytest.mark.parametrize("name", PROFILES)
def test_a_leaf_carries_what_zlint_asks_for(cluster, name: str) -> None:
    """Points of etcd-pki.md 3.3, so that they hold on a machine without zlint too."""
    issued = cluster.issue(name)
    authority = issued.authority.certificate
    assert extension(issued.pem, x509.BasicConstraints).critical
    usage = extension(issued.pem, x509.KeyUsage)
    assert usage.critical
    assert usage.value == x509.KeyUsage(True, *[False] * 8)
    assert not extension(issued.pem, x509.ExtendedKeyUsage).critical
    own = extension(issued.pem, x509.SubjectKeyIdentifier).value
    assert own == x509.SubjectKeyIdentifier.from_public_key(load_certificate(issued.pem).public_key)
    by = extension(issued.pem, x509.AuthorityKeyIdentifier)
    assert by.value.key_identifier == extension(authority, x509.SubjectKeyIdentifier).value.digest
    assert not by.critical


def test_key_encipherment_is_for_rsa_keys_only(cluster) -> None:
    request = cluster.request("kube-proxy")
    public = load_private_key(make_service_account_key()).public_key()
    pem = cluster.authorities["kubernetes"].issue(request, public, cluster.now)
    assert extension(pem, x509.KeyUsage).value == x509.KeyUsage(True, False, True, *[False] * 6)


def test_serials_are_positive_different_and_of_128_random_bits(cluster) -> None:
    serials = [int(load_certificate(cluster.issue("kube-proxy").pem).serial, 16) for _ in range(64)]
    assert len(set(serials)) == 64
    assert all(0 < serial < 2**128 for serial in serials)
    # Each of the 128 bits is seen both set and clear: odds of a false alarm 2**-56.
    assert functools.reduce(int.__or__, serials) == 2**128 - 1
    assert functools.reduce(int.__and__, serials) == 0


def test_a_leaf_never_outlives_its_authority(cluster, later) -> None:
    short = Authority.create("kubernetes", cluster.now, lifetime=timedelta(days=10))
    leaf = load_certificate(cluster.issue("kube-proxy", by=short).pem)
    assert leaf.not_after == short.certificate.not_after == later(days=10)


def test_a_leaf_is_never_valid_before_its_authority(cluster, later) -> None:
    young = cluster.authorities["kubernetes"]
    leaf = load_certificate(cluster.issue("kube-proxy", now=later(minutes=-30)).pem)
    assert leaf.not_before == young.certificate.not_before


@pytest.mark.parametrize("offset", [timedelta(hours=-1, seconds=-1), timedelta(days=3650), timedelta(days=4000)])
def test_an_authority_outside_its_life_signs_nothing(cluster, offset: timedelta) -> None:
    with pytest.raises(PkiError, match=r"'kubernetes-ca' is valid from .* to .*, now is") as caught:
        cluster.issue("kube-proxy", now=cluster.now + offset)
    assert caught.value.code == "authority-expired"
    assert "clock" in caught.value.remedy


def test_an_authority_signs_from_the_first_second_of_its_life(cluster) -> None:
    start = cluster.authorities["kubernetes"].certificate.not_before
    assert load_certificate(cluster.issue("kube-proxy", now=start).pem).not_before == start


def test_an_authority_signs_in_the_last_second_of_its_life(cluster) -> None:
    end = cluster.now + timedelta(days=3650)
    assert load_certificate(cluster.issue("kube-proxy", now=end - timedelta(seconds=1)).pem).not_after == end


@pytest.mark.parametrize("name", PROFILES)
def test_an_authority_signs_its_own_profiles_only(cluster, name: str) -> None:
    for authority in cluster.authorities.values():
        if authority.name == PROFILES[name].authority:
            continue
        with pytest.raises(PkiError, match=f"'{authority.name}' does not sign '{name}'") as caught:
            cluster.issue(name, by=authority)
        assert caught.value.code == "wrong-authority"


def test_a_weak_leaf_key_is_not_signed(cluster) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    with pytest.raises(PkiError, match="1024 bits"):
        cluster.authorities["kubernetes"].issue(cluster.request("kube-proxy"), weak, cluster.now)


def test_a_checked_csr_is_issued_with_its_key(cluster) -> None:
    request, key = cluster.request("kubelet-server"), make_key()
    public = check_csr(build_csr(request, key), request)
    pem = cluster.authorities["kubernetes"].issue(request, public, cluster.now)
    assert load_certificate(pem).public_key == load_private_key(key).public_key()


def test_any_time_zone_will_do_but_a_naive_time_will_not(cluster) -> None:
    tokyo = cluster.now.astimezone(timezone(timedelta(hours=9)))
    assert load_certificate(cluster.issue("kube-proxy", now=tokyo).pem).not_before == cluster.now - HOUR
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - the mistake under test
    with pytest.raises(ValueError, match="aware"):
        cluster.issue("kube-proxy", now=naive)
    with pytest.raises(ValueError, match="aware"):
        Authority.create("kubernetes", naive)


def test_fractions_of_a_second_do_not_reach_a_certificate(cluster) -> None:
    now = cluster.now + timedelta(microseconds=999_999)
    certificate = load_certificate(cluster.issue("kube-proxy", now=now).pem)
    assert (certificate.not_before, certificate.not_after) == (cluster.now - HOUR, cluster.now + timedelta(days=365))


@pytest.mark.parametrize(
    ("curve", "expected"), [(ec.SECP256R1(), "sha256"), (ec.SECP384R1(), "sha384")], ids=["P-256", "P-384"]
)
def test_a_remote_key_signs_with_the_hash_of_its_curve(cluster, curve, expected: str) -> None:
    remote = RemoteKeyDouble(curve)
    authority = Authority.create("kubernetes", cluster.now, key=remote)
    issued = cluster.issue("apiserver", by=authority)
    assert remote.hashes == [expected, expected]
    verify_chain(issued.pem, issued.bundle, Usage.SERVER, cluster.now)


def test_an_rsa_authority_signs_too(cluster) -> None:
    authority = Authority.create("kubernetes", cluster.now, key=load_private_key(make_service_account_key()))
    issued = cluster.issue("apiserver", by=authority)
    verify_chain(issued.pem, issued.bundle, Usage.SERVER, cluster.now)


def test_certificates_of_the_far_future_are_written_correctly() -> None:
    """RFC 5280 4.1.2.5: from 2050 on another ASN.1 type."""
    now = datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert Authority.create("kubernetes", now).certificate.not_after == now + timedelta(days=3650)
