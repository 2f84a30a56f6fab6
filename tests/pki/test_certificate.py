import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from pki.certificate import combine, load_certificate, load_certificates, load_credential
from pki.errors import PkiError
from pki.keys import make_key


def foreign(cluster, *extensions, key=None, names=("a", "b")) -> bytes:
    """A self-signed certificate as other tools make them."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text) for text in names])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(cluster.now).not_valid_after(cluster.now + timedelta(days=4))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    signed = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def test_a_certificate_reads_as_openssl_prints_it(cluster, openssl) -> None:
    issued = cluster.issue("kubelet-server")
    certificate = load_certificate(issued.pem)
    printed = openssl("x509", "-noout", "-serial", "-fingerprint", "-sha256", "-in", issued.pem).stdout
    serial, fingerprint = (line.partition("=")[2] for line in printed.splitlines())
    assert int(certificate.serial, 16) == int(serial, 16)
    assert certificate.sha256 == fingerprint.replace(":", "").lower()


def test_a_certificate_without_extensions_reads_as_a_certificate_that_may_nothing(cluster) -> None:
    certificate = load_certificate(foreign(cluster))
    assert (certificate.usages, certificate.alternative_names, certificate.is_authority) == ((), (), False)
    assert certificate.common_name == "a, b"
    assert certificate.serial == "7"


def test_an_unknown_usage_and_an_unknown_kind_of_name_stay_visible(cluster) -> None:
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.SERVER_AUTH])
    name = x509.SubjectAlternativeName([x509.RFC822Name("a@example.com")])
    certificate = load_certificate(foreign(cluster, usage, name))
    assert certificate.usages == ("1.3.6.1.5.5.7.3.3", "server")
    assert certificate.alternative_names == ("RFC822Name:a@example.com",)


def test_a_certificate_whose_names_are_garbage_is_refused(cluster) -> None:
    garbage = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"garbage")
    with pytest.raises(PkiError, match=r"not an X\.509 certificate"):
        load_certificate(foreign(cluster, garbage))


def test_the_time_left_counts_down_through_expiry(cluster, later) -> None:
    certificate = load_certificate(foreign(cluster))
    assert [certificate.days_left(later(hours=hours)) for hours in (0, 1, 72, 95, 96, 97)] == [4, 3, 1, 0, 0, -1]
    assert [certificate.life_left(later(days=days)) for days in (0, 3, 4, 8)] == [1.0, 0.25, 0.0, -1.0]


def test_a_combined_pem_serves_both_flags_of_a_server(cluster, tmp_path: Path) -> None:
    issued = cluster.issue("apiserver")
    path = tmp_path / "apiserver.pem"
    path.write_bytes(issued.combined)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certfile=path, keyfile=path)


def test_a_combined_pem_parts_into_what_was_combined(cluster) -> None:
    issued = cluster.issue("apiserver")
    chain = issued.pem + issued.bundle
    credential = load_credential(combine(chain, issued.key))
    assert credential.leaf == load_certificate(issued.pem)
    assert [certificate.pem for certificate in credential.chain] == [issued.pem, issued.bundle]
    assert credential.key == issued.key
    assert credential.key_matches
    assert "PRIVATE" not in repr(credential)


def test_the_order_of_key_and_certificate_is_no_difference(cluster) -> None:
    issued = cluster.issue("apiserver")
    assert load_credential(issued.key.pem + issued.pem) == load_credential(issued.combined)


def test_a_key_of_another_certificate_is_not_combined(cluster) -> None:
    with pytest.raises(PkiError, match="not that of 'kube-apiserver'") as caught:
        combine(cluster.issue("apiserver").pem, make_key())
    assert caught.value.code == "key-mismatch"


def test_a_combined_pem_with_a_foreign_key_shows_it(cluster) -> None:
    assert not load_credential(cluster.issue("apiserver").pem + make_key().pem).key_matches


def test_every_half_written_combined_pem_is_refused(cluster) -> None:
    whole = cluster.issue("apiserver").combined
    last = len(whole.rstrip(b"\n-"))
    for length in range(0, last, 7):
        with pytest.raises(PkiError) as caught:
            load_credential(whole[:length])
        assert caught.value.code == "certificate-unreadable"


def test_a_combined_pem_holds_one_key(cluster) -> None:
    issued = cluster.issue("apiserver")
    for keys in (b"", issued.key.pem * 2):
        with pytest.raises(PkiError, match="private keys in the combined PEM; allowed: one"):
            load_credential(issued.pem + keys)


def test_a_private_key_among_public_certificates_is_refused(cluster) -> None:
    with pytest.raises(PkiError, match="a private key lies among the certificates"):
        load_certificates(cluster.issue("apiserver").combined)


def test_one_certificate_means_one(cluster) -> None:
    with pytest.raises(PkiError, match="2 certificates in the PEM; allowed: one"):
        load_certificate(cluster.issue("apiserver").pem * 2)


def test_text_around_the_certificates_is_read_past(cluster) -> None:
    pem = cluster.issue("apiserver").pem
    commented = b"# the API server\n" + pem.replace(b"\n", b"\r\n") + b"trailing text\n"
    assert load_certificate(commented) == load_certificate(pem)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"no PEM at all",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n",
    ],
)
def test_what_is_no_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(PkiError) as caught:
        load_certificates(pem)
    assert caught.value.code == "certificate-unreadable"


def test_a_certificate_of_a_foreign_key_type_is_refused(cluster) -> None:
    with pytest.raises(PkiError, match="Ed25519PublicKey"):
        load_certificate(foreign(cluster, key=ed25519.Ed25519PrivateKey.generate()))


def test_beginnings_without_an_end_cost_no_time(cluster) -> None:
    """Against a quadratic search: 64 kB of them return at once (the suite's time limit would catch minutes)."""
    with pytest.raises(PkiError, match="incomplete"):
        load_certificates(b"-----BEGIN CERTIFICATE-----\n" * 2300)
