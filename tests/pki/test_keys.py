import pprint
import subprocess
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pki import keys
from pki.errors import PkiError

Openssl = Callable[..., subprocess.CompletedProcess[str]]


def pem_of(private_key, encryption=None) -> bytes:
    return private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    )


def test_a_node_key_is_p256_in_pkcs8(openssl: Openssl) -> None:
    key = keys.make_key()
    assert key.pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert "prime256v1" in openssl("pkey", "-noout", "-text", "-in", key.pem).stdout


def test_a_service_account_key_is_rsa_2048_in_pkcs8(openssl: Openssl) -> None:
    key = keys.make_service_account_key()
    assert key.pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert "2048 bit" in openssl("pkey", "-noout", "-text", "-in", key.pem).stdout


def test_openssl_reads_the_same_public_key_and_fingerprint(openssl: Openssl) -> None:
    key = keys.make_key()
    public = keys.public_key_pem(key)
    assert openssl("pkey", "-pubout", "-in", key.pem).stdout.encode() == public
    reread = keys.load_public_key(public)
    assert keys.dump_public_key(reread) == public
    assert keys.spki_sha256(reread) == keys.spki_sha256(keys.load_private_key(key).public_key())


def test_a_key_survives_dump_and_load() -> None:
    for key in (keys.make_key(), keys.make_service_account_key()):
        assert keys.dump_private_key(keys.load_private_key(key)) == key


def test_no_form_of_a_private_key_shows_the_key() -> None:
    key = keys.make_key()
    for text in (repr(key), str(key), f"{key}", f"{[key]!r}", pprint.pformat(key)):
        assert text.strip("[]") == "PrivateKeyPem()"


@pytest.mark.parametrize(
    ("weak", "found"),
    [
        (rsa.generate_private_key(public_exponent=65537, key_size=1024), "RSA of 1024 bits"),
        (rsa.generate_private_key(public_exponent=3, key_size=2048), "exponent of 2 bits"),
        (ec.generate_private_key(ec.SECP521R1()), "curve secp521r1"),
        (ec.generate_private_key(ec.SECP256K1()), "curve secp256k1"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519PrivateKey"),
    ],
    ids=["short RSA", "RSA with e=3", "P-521", "secp256k1", "Ed25519"],
)
def test_a_private_key_of_another_kind_is_refused(weak, found: str) -> None:
    with pytest.raises(PkiError, match=found) as caught:
        keys.load_private_key(keys.PrivateKeyPem(pem_of(weak)))
    assert caught.value.code == "key-refused"


def test_an_ed25519_public_key_is_refused() -> None:
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(PkiError, match="Ed25519PublicKey"):
        keys.load_public_key(pem)


def test_a_huge_rsa_exponent_is_refused_in_no_time() -> None:
    modulus = keys.load_private_key(keys.make_service_account_key()).public_key().public_numbers().n
    huge = rsa.RSAPublicNumbers(e=modulus - 2, n=modulus).public_key()
    with pytest.raises(PkiError, match="exponent of 2048 bits"):
        keys.accept(huge)


@pytest.mark.parametrize(("bits", "good"), [(2047, False), (2048, True), (4096, True), (4097, False)])
def test_rsa_keys_have_2048_to_4096_bits(bits: int, good: bool) -> None:
    # No real key: only its size is looked at.
    public = rsa.RSAPublicNumbers(e=65537, n=2**bits - 1).public_key()
    if good:
        assert keys.accept(public) is public
    else:
        with pytest.raises(PkiError, match=f"RSA of {bits} bits"):
            keys.accept(public)


def test_p384_and_longer_rsa_are_accepted() -> None:
    for private in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 3072)):
        assert keys.load_private_key(keys.PrivateKeyPem(pem_of(private))) is not None


def test_an_unreadable_private_key_is_refused_without_quoting_it() -> None:
    encrypted = pem_of(ec.generate_private_key(ec.SECP256R1()), serialization.BestAvailableEncryption(b"x"))
    for pem in (b"", b"hunter2", keys.make_key().pem[:-40], encrypted):
        with pytest.raises(PkiError) as caught:
            keys.load_private_key(keys.PrivateKeyPem(pem))
        assert caught.value.code == "key-unreadable"
        assert str(caught.value) == "the private key is not an unencrypted PEM"
        assert caught.value.__cause__ is None


def test_an_unreadable_public_key_is_refused() -> None:
    with pytest.raises(PkiError) as caught:
        keys.load_public_key(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    assert caught.value.code == "key-unreadable"


def test_more_bytes_than_any_key_needs_reach_no_parser() -> None:
    with pytest.raises(PkiError, match="65537 bytes; allowed: at most 65536"):
        keys.load_public_key(b" " * 65537)
    with pytest.raises(PkiError, match="not a PEM"):
        keys.load_public_key(b" " * 65536)
