"""Envelopes around secrets: AES-256-GCM under a fresh data key, which KMS or a local key wraps (trust.md, question 3).

The context says whose secret it is. It is authenticated twice: as additional data of the cipher, and as KMS encryption
context, so an envelope moved to another cluster, role or name does not open. Nothing random is made here: the data key
and the nonce are arguments, and every `seal` needs a data key that was never used before.
"""

import base64
import binascii
import hashlib
import json
from typing import Annotated, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import keywrap, serialization
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from units.errors import Invalid, Refused
from units.manifest import AuthorityName, Name, Sha256, problems_of

MAX_BYTES = 64 * 1024  # an RSA-4096 key is 3 kB
DATA_KEY_BYTES = 32
NONCE_BYTES = 12
SERVICE_ACCOUNT = "service-account"  # the first generation of the key that signs service-account tokens
_TELLS_APART = 8  # hex digits of a public key's hash in the name of a later generation's envelope


def _canonical_base64(text: str) -> str:
    """Decoders forgive trailing bits (`YWJ=` reads as `YWI=`); one spelling per value keeps objects comparable."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("is not base64") from error
    if base64.b64encode(decoded).decode() != text:
        raise ValueError("is not canonical base64")
    return text


Base64 = Annotated[str, AfterValidator(_canonical_base64)]


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )


class Context(_Strict):
    """Whose secret it is. `uid` tells two clusters of one name apart."""

    cluster: Name
    uid: str = Field(min_length=1, max_length=128)
    role: Literal["control-plane"] = "control-plane"
    name: Name

    def as_kms(self) -> dict[str, str]:
        """The KMS encryption context; key policies match on these keys."""
        return {"cluster": self.cluster, "uid": self.uid, "role": self.role, "name": self.name}

    def as_additional_data(self) -> bytes:
        return json.dumps(self.as_kms(), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


class Envelope(_Strict):
    """The object `secrets/control-plane/NAME.json`."""

    v: Literal[1] = 1
    key: Annotated[str, Field(pattern=r"^(awskms:arn:[!-~]{1,512}|local:[0-9a-f]{16})$")]
    context: Context
    wrapped_key: Base64
    nonce: Base64
    ciphertext: Base64
    public_sha256: Sha256 | None = None  # of the public half's SubjectPublicKeyInfo; None for what has no public half

    @property
    def wrapped_key_bytes(self) -> bytes:
        return base64.b64decode(self.wrapped_key)


def object_key(name: str) -> str:
    """Where an envelope lies, relative to the cluster's prefix in the store."""
    return f"secrets/control-plane/{name}.json"


def authority_secret(name: AuthorityName) -> str:
    """The secret that holds the private key of a certificate authority, the first one of its name.

    What signs now is in the signed manifest: `Authority.secret`, `Trust.service_account_secret`.
    """
    return f"authority-{name}"


def later_secret(first: str, spki_sha256: str) -> str:
    """The name of the same secret's envelope after a rotation. Each key has an envelope of its own: the old one must
    still open while the new one is only trusted.
    """
    return f"{first}-{spki_sha256[:_TELLS_APART]}"


def local_key_name(local_key: bytes) -> str:
    """`local:ID`, as in manifest.trust.secrets_key; ID identifies the key and tells nothing about it."""
    return "local:" + hashlib.sha256(b"bootwright local secrets key\0" + local_key).hexdigest()[:16]


def wrap_locally(data_key: bytes, *, local_key: bytes) -> bytes:
    """RFC 3394. It binds no context, and need not: the data key opens one envelope only."""
    return keywrap.aes_key_wrap(local_key, data_key)


def unwrap_locally(envelope: Envelope, *, local_key: bytes) -> bytes:
    try:
        return keywrap.aes_key_unwrap(local_key, envelope.wrapped_key_bytes)
    except (keywrap.InvalidUnwrap, ValueError) as error:
        raise _tampered(envelope, "its data key does not unwrap under the local key") from error


def seal(
    plaintext: bytes,
    *,
    key: str,
    context: Context,
    data_key: bytes,
    wrapped_key: bytes,
    nonce: bytes,
    public_sha256: str | None,
) -> Envelope:
    """`data_key` and `nonce` fresh from the caller's random source; `wrapped_key` is what KMS or the local key made."""
    if len(data_key) != DATA_KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise Invalid("secret-key-size", f"data key {len(data_key)} bytes, nonce {len(nonce)}; 32 and 12 are allowed")
    ciphertext = AESGCM(data_key).encrypt(nonce, plaintext, context.as_additional_data())
    return Envelope(
        key=key,
        context=context,
        wrapped_key=base64.b64encode(wrapped_key).decode(),
        nonce=base64.b64encode(nonce).decode(),
        ciphertext=base64.b64encode(ciphertext).decode(),
        public_sha256=public_sha256,
    )


def open_envelope(envelope: Envelope, *, data_key: bytes) -> bytes:
    """The plain text; Refused `secret-tampered` when a single bit of it or of its context was changed."""
    try:
        return AESGCM(data_key).decrypt(
            base64.b64decode(envelope.nonce),
            base64.b64decode(envelope.ciphertext),
            envelope.context.as_additional_data(),
        )
    except (InvalidTag, ValueError) as error:
        raise _tampered(envelope, "its content does not authenticate") from error


def require(envelope: Envelope, *, key: str, context: Context) -> None:
    """Refuse, before any key is used, an envelope under another key or made for somebody else."""
    if envelope.key != key:
        raise Refused(
            "secret-wrong-key",
            f"secret {context.name!r} is enveloped under {envelope.key!r}, but the signed manifest allows only {key!r}",
            remedy="somebody replaced the envelope, or the key changed: seal it again with `coordinator init`",
        )
    if envelope.context != context:
        raise Refused(
            "secret-wrong-context",
            f"secret {context.name!r} was sealed for {envelope.context.as_kms()}, "
            f"but this node needs {context.as_kms()}",
            remedy="an envelope was copied from another cluster or another secret: restore the object's version",
        )


def encode_envelope(envelope: Envelope) -> bytes:
    return (json.dumps(envelope.model_dump(mode="json", by_alias=True), indent=1, sort_keys=True) + "\n").encode()


def decode_envelope(data: bytes) -> Envelope:
    if len(data) > MAX_BYTES:
        raise Invalid("secret-envelope-invalid", f"an envelope of {len(data)} bytes; at most {MAX_BYTES}")
    try:
        return Envelope.model_validate_json(data)
    except ValidationError as error:
        raise Invalid(
            "secret-envelope-invalid",
            "the object is not an envelope that this agent can read",
            problems=problems_of(error),
            remedy="restore the previous version of the object in S3",
        ) from error


def public_sha256(pem: bytes) -> str:
    """Hex sha256 of the SubjectPublicKeyInfo of a PEM private or public key."""
    try:
        if b"PRIVATE KEY" in pem:
            public = serialization.load_pem_private_key(pem, password=None).public_key()
        else:
            public = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError) as error:
        raise Invalid("secret-not-a-key", "the plain text is not an unencrypted PEM key") from error
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).hexdigest()


def _tampered(envelope: Envelope, why: str) -> Refused:
    return Refused(
        "secret-tampered",
        f"secret {envelope.context.name!r} was changed in the store: {why}",
        remedy="restore the previous version of the object in S3, and find out who wrote it",
    )
