"""KMS Sign and Verify with digests, and no cryptography with a disabled key: both missing in moto 5.2.5."""

import base64
import binascii
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from tests.lab.region.calls import Call
from tests.lab.region.gateway import Answer
from tests.lab.region.principals import Principal
from tests.lab.region.refusals import Refusal

HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
RAW_LIMIT = 4096
CONTENT_TYPE = "application/x-amz-json-1.1"


# Everything that uses key material; Sign and Verify are answered here anyway.
CRYPTOGRAPHIC = frozenset(
    {
        "Encrypt",
        "Decrypt",
        "ReEncrypt",
        "GenerateDataKey",
        "GenerateDataKeyWithoutPlaintext",
        "GenerateMac",
        "VerifyMac",
    }
)
KEY_ID_BYTES = 36  # moto begins a ciphertext with the id of its key


def check_key_enabled(backend: Any, call: Call) -> None:
    """Raises the Refusal for a call that would use a disabled key."""
    if call.service != "kms" or call.action not in CRYPTOGRAPHIC:
        return
    name = str(call.document.get("KeyId", ""))
    if not name:
        name = _decoded(call, "CiphertextBlob")[:KEY_ID_BYTES].decode("ascii", "replace")
    key = backend.keys.get(backend.any_id_to_key_id(name))
    if key is not None and key.key_state != "Enabled":
        raise Refusal("DisabledException", f"{key.arn} is {key.key_state}.")


class Signing:
    """`sign` and `verify` over the keys of moto's KMS backend."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def sign(self, call: Call, principal: Principal) -> Answer:
        key, algorithm = self._key(call)
        digest, hashed = _digest(call, algorithm)
        private = key.private_key.private_key
        if isinstance(private, rsa.RSAPrivateKey):
            signature = private.sign(digest, _padding(algorithm, hashed), utils.Prehashed(hashed))
        else:
            signature = private.sign(digest, ec.ECDSA(utils.Prehashed(hashed)))
        body = {
            "KeyId": key.arn,
            "Signature": base64.b64encode(signature).decode(),
            "SigningAlgorithm": algorithm,
        }
        return Answer(json.dumps(body).encode(), CONTENT_TYPE)

    def verify(self, call: Call, principal: Principal) -> Answer:
        key, algorithm = self._key(call)
        digest, hashed = _digest(call, algorithm)
        signature = _decoded(call, "Signature")
        public = key.private_key.private_key.public_key()
        try:
            if isinstance(public, rsa.RSAPublicKey):
                public.verify(signature, digest, _padding(algorithm, hashed), utils.Prehashed(hashed))
            else:
                public.verify(signature, digest, ec.ECDSA(utils.Prehashed(hashed)))
        except InvalidSignature:
            raise Refusal("KMSInvalidSignatureException", "the signature is not valid") from None
        body = {"KeyId": key.arn, "SignatureValid": True, "SigningAlgorithm": algorithm}
        return Answer(json.dumps(body).encode(), CONTENT_TYPE)

    def _key(self, call: Call) -> tuple[Any, str]:
        name = str(call.document.get("KeyId", ""))
        algorithm = str(call.document.get("SigningAlgorithm", ""))
        key = self._backend.keys.get(self._backend.any_id_to_key_id(name))
        if key is None:
            raise Refusal("NotFoundException", f"Key '{name}' does not exist")
        if key.key_state != "Enabled":
            raise Refusal("DisabledException", f"{key.arn} is {key.key_state}.")
        if key.key_usage != "SIGN_VERIFY" or algorithm not in key.signing_algorithms:
            raise Refusal("InvalidKeyUsageException", f"{key.arn} is {key.key_usage} and does not do {algorithm}")
        return key, algorithm


def _digest(call: Call, algorithm: str) -> tuple[bytes, hashes.HashAlgorithm]:
    hashed = HASHES[algorithm[-3:]]
    message = _decoded(call, "Message")
    if call.document.get("MessageType", "RAW") == "DIGEST":
        if len(message) != hashed.digest_size:
            raise Refusal("ValidationException", f"Digest is invalid length for algorithm {algorithm}.")
        return message, hashed
    if not 0 < len(message) <= RAW_LIMIT:
        raise Refusal("ValidationException", f"Message of {len(message)} bytes; RAW allows 1 to {RAW_LIMIT}")
    hasher = hashes.Hash(hashed)
    hasher.update(message)
    return hasher.finalize(), hashed


def _decoded(call: Call, field: str) -> bytes:
    try:
        return base64.b64decode(str(call.document.get(field, "")), validate=True)
    except binascii.Error:
        raise Refusal("SerializationException", f"{field} is not base64") from None


def _padding(algorithm: str, hashed: hashes.HashAlgorithm) -> padding.AsymmetricPadding:
    if "PKCS1" in algorithm:
        return padding.PKCS1v15()
    return padding.PSS(mgf=padding.MGF1(hashed), salt_length=padding.PSS.DIGEST_LENGTH)
