"""KMS in the lab's region: digests are signed as digests, a disabled key does nothing. Held against bare moto too."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from tests.lab.region.fixtures import World
from tests.lab.test_region import refusal

MESSAGE = b"targets metadata"
Rule = Callable[[Any], None]
RULES: list[Rule] = []


def rule(check: Rule) -> Rule:
    RULES.append(check)
    return check


def signing_key(kms: Any, spec: str = "ECC_NIST_P256") -> str:
    return str(kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec=spec)["KeyMetadata"]["Arn"])


def public_key(kms: Any, key: str) -> Any:
    return serialization.load_der_public_key(kms.get_public_key(KeyId=key)["PublicKey"])


@rule
def a_digest_signature_verifies_over_the_message(kms: Any) -> None:
    for spec, algorithm, made in (
        ("ECC_NIST_P256", "ECDSA_SHA_256", hashes.SHA256()),
        ("ECC_NIST_P384", "ECDSA_SHA_384", hashes.SHA384()),
    ):
        key = signing_key(kms, spec)
        digest = hashlib.new(made.name, MESSAGE).digest()
        signed = kms.sign(KeyId=key, Message=digest, MessageType="DIGEST", SigningAlgorithm=algorithm)
        public_key(kms, key).verify(signed["Signature"], MESSAGE, ec.ECDSA(made))


@rule
def an_rsa_digest_signature_verifies_with_pss_and_pkcs1(kms: Any) -> None:
    key, made = signing_key(kms, "RSA_2048"), hashes.SHA256()
    digest = hashlib.sha256(MESSAGE).digest()
    pss = padding.PSS(mgf=padding.MGF1(made), salt_length=padding.PSS.DIGEST_LENGTH)
    for algorithm, wanted in (("RSASSA_PSS_SHA_256", pss), ("RSASSA_PKCS1_V1_5_SHA_256", padding.PKCS1v15())):
        signed = kms.sign(KeyId=key, Message=digest, MessageType="DIGEST", SigningAlgorithm=algorithm)
        public_key(kms, key).verify(signed["Signature"], MESSAGE, wanted, made)


@rule
def a_digest_of_the_wrong_length_is_refused(kms: Any) -> None:
    ask = {"KeyId": signing_key(kms), "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"}
    assert refusal(lambda: kms.sign(Message=b"short", **ask))[0] == "ValidationException"


@rule
def a_raw_message_over_4096_bytes_is_refused(kms: Any) -> None:
    ask = {"KeyId": signing_key(kms), "SigningAlgorithm": "ECDSA_SHA_256"}
    kms.sign(Message=b"x" * 4096, **ask)
    assert refusal(lambda: kms.sign(Message=b"x" * 4097, **ask))[0] == "ValidationException"


@rule
def a_disabled_key_signs_nothing(kms: Any) -> None:
    key = signing_key(kms)
    kms.disable_key(KeyId=key.rpartition("/")[2])  # moto knows no ARN here
    sign = lambda: kms.sign(KeyId=key, Message=MESSAGE, SigningAlgorithm="ECDSA_SHA_256")  # noqa: E731 - one call
    assert refusal(sign)[0] == "DisabledException"


@rule
def a_disabled_key_neither_wraps_nor_unwraps(kms: Any) -> None:
    key = kms.create_key()["KeyMetadata"]["Arn"]
    wrapped = kms.generate_data_key(KeyId=key, KeySpec="AES_256")["CiphertextBlob"]
    kms.disable_key(KeyId=key.rpartition("/")[2])  # moto knows no ARN here
    calls = (
        lambda: kms.generate_data_key(KeyId=key, KeySpec="AES_256"),
        lambda: kms.encrypt(KeyId=key, Plaintext=b"x"),
        lambda: kms.decrypt(CiphertextBlob=wrapped),
    )
    assert [refusal(call)[0] for call in calls] == ["DisabledException"] * 3


@pytest.mark.parametrize("check", RULES, ids=lambda check: check.__name__)
def test_the_region_keeps_the_rule(check: Rule, strict: World) -> None:
    check(strict.aws("kms"))


@pytest.mark.parametrize("check", RULES, ids=lambda check: check.__name__)
def test_bare_moto_breaks_the_rule(check: Rule, bare: World) -> None:
    """When this fails, moto has learned the rule: take the lab's own version out."""
    from botocore.exceptions import ClientError

    with pytest.raises((AssertionError, pytest.fail.Exception, ClientError, InvalidSignature)):
        check(bare.aws("kms"))


def test_a_wrong_encryption_context_unwraps_nothing(strict: World) -> None:
    kms = strict.aws("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    context = {"cluster": "a", "purpose": "kubernetes-ca"}
    made = kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=context)
    assert (
        kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=context)["Plaintext"] == made["Plaintext"]
    )
    for wrong in ({}, {"cluster": "b", "purpose": "kubernetes-ca"}):
        unwrap = lambda wrong=wrong: kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext=wrong)  # noqa: E731 - one call
        assert refusal(unwrap)[0] == "InvalidCiphertextException"


def test_a_signature_over_something_else_does_not_verify(strict: World) -> None:
    kms = strict.aws("kms")
    key = signing_key(kms)
    ask = {"KeyId": key, "SigningAlgorithm": "ECDSA_SHA_256"}
    signature = kms.sign(Message=MESSAGE, **ask)["Signature"]
    assert kms.verify(Message=MESSAGE, Signature=signature, **ask)["SignatureValid"] is True
    verify = lambda: kms.verify(Message=MESSAGE + b"x", Signature=signature, **ask)  # noqa: E731 - one call
    assert refusal(verify)[0] == "KMSInvalidSignatureException"
