"""KMS: data keys for envelopes, and signatures for the repository's roles."""

import hashlib
from typing import Any

from coordinator.aws.session import Aws, translated
from coordinator.tuf_api import Key, SecretsHandler, Signature, Signer, SSlibKey
from units.errors import Invalid

SCHEME = "awskms:"


def region_of(uri: str) -> str:
    """The region of a key, from its ARN: a client of another region would answer NotFoundException (trust.md 1.7)."""
    parts = uri.removeprefix(SCHEME).split(":")
    if len(parts) < 6 or parts[0] != "arn" or parts[2] != "kms" or not parts[3]:
        raise Invalid(
            "kms-key-invalid",
            f"{uri!r} is not the ARN of a KMS key",
            remedy="write awskms:arn:aws:kms:REGION:ACCOUNT:key/ID",
        )
    return parts[3]


def generate_data_key(aws: Aws, uri: str, context: dict[str, str]) -> tuple[bytes, bytes]:
    """A fresh 256-bit data key: plain, and wrapped under the KMS key and the encryption context."""
    arn = uri.removeprefix(SCHEME)
    with translated("kms:GenerateDataKey", arn):
        answer = aws.client("kms", region=region_of(uri)).generate_data_key(
            KeyId=arn, KeySpec="AES_256", EncryptionContext=context
        )
    return answer["Plaintext"], answer["CiphertextBlob"]


def decrypt_data_key(aws: Aws, uri: str, wrapped: bytes, context: dict[str, str]) -> bytes:
    arn = uri.removeprefix(SCHEME)
    with translated("kms:Decrypt", arn):
        answer = aws.client("kms", region=region_of(uri)).decrypt(
            KeyId=arn, CiphertextBlob=wrapped, EncryptionContext=context
        )
    plain: bytes = answer["Plaintext"]
    return plain


def public_key(aws: Aws, uri: str) -> SSlibKey:
    """The public half of an ECC_NIST_P256 signing key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    arn = uri.removeprefix(SCHEME)
    with translated("kms:GetPublicKey", arn):
        answer = aws.client("kms", region=region_of(uri)).get_public_key(KeyId=arn)
    key = serialization.load_der_public_key(answer["PublicKey"])
    if answer.get("KeyUsage") != "SIGN_VERIFY" or not (
        isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    ):
        raise Invalid(
            "kms-key-kind",
            f"{uri} is {answer.get('KeySpec')} for {answer.get('KeyUsage')}; ECC_NIST_P256 for SIGN_VERIFY is allowed",
            remedy="create a KMS key of that kind for signing",
        )
    return SSlibKey.from_crypto(key)


class KmsSigner(Signer):
    """Signs with a P-256 key that never leaves KMS; only the digest is sent.

    Unlike securesystemslib's AWSSigner it takes the region from the ARN and honours the spec's endpoint; the signature
    and the key in root.json are securesystemslib's, so that any TUF tool verifies them.
    """

    MESSAGE_TYPE = "DIGEST"

    def __init__(self, aws: Aws, uri: str, key: Key) -> None:
        self._public_key = key
        self._arn = uri.removeprefix(SCHEME)
        self._client: Any = aws.client("kms", region=region_of(uri))

    @property
    def public_key(self) -> Key:
        return self._public_key

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> "KmsSigner":
        del secrets_handler  # KMS asks IAM, not a person
        return cls(Aws(), priv_key_uri, public_key)

    def sign(self, payload: bytes) -> Signature:
        with translated("kms:Sign", self._arn):
            answer = self._client.sign(
                KeyId=self._arn,
                Message=self.message(payload),
                MessageType=self.MESSAGE_TYPE,
                SigningAlgorithm="ECDSA_SHA_256",
            )
        return Signature(self.public_key.keyid, answer["Signature"].hex())

    def message(self, payload: bytes) -> bytes:
        return hashlib.sha256(payload).digest()
