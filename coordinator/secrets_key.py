"""The key under which every private key lies in the store: in KMS, or a local one under the operator's passphrase."""

import os
import secrets
from pathlib import Path
from typing import Final, Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from coordinator.aws import kms
from coordinator.aws.session import Aws
from coordinator.key_directory import KeyDirectory
from coordinator.keys import unlock
from coordinator.passphrase import Passphrase
from coordinator.pkcs8 import encrypt_pkcs8
from units.envelope import DATA_KEY_BYTES, NONCE_BYTES, Context, Envelope, local_key_name, seal, wrap_locally
from units.errors import Invalid, Refused

LOCAL_FILE: Final = "secrets.pem"


class SecretsKey(Protocol):
    @property
    def uri(self) -> str:
        """`awskms:ARN` or `local:ID`, as in the signed manifest."""

    def data_key(self, context: Context) -> tuple[bytes, bytes]:
        """A fresh data key for one envelope: plain, and wrapped."""


class KmsSecretsKey:
    """A symmetric KMS key. Its policy decides who may open which secret, by encryption context."""

    def __init__(self, aws: Aws, uri: str) -> None:
        kms.region_of(uri)  # an alias without ARN would be found in one account only
        self._aws = aws
        self.uri = uri

    def data_key(self, context: Context) -> tuple[bytes, bytes]:
        return kms.generate_data_key(self._aws, self.uri, context.as_kms())


class LocalSecretsKey:
    """256 random bits, for people without KMS."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self.uri = local_key_name(key)

    def __repr__(self) -> str:
        return f"LocalSecretsKey({self.uri})"

    def data_key(self, context: Context) -> tuple[bytes, bytes]:
        del context  # RFC 3394 binds none; the envelope's cipher does
        fresh = secrets.token_bytes(DATA_KEY_BYTES)
        return fresh, wrap_locally(fresh, local_key=self._key)


def make_local_key(directory: KeyDirectory, passphrase: Passphrase) -> None:
    """Written once, under the passphrase. The 32 bytes are the seed of an Ed25519 key, so that one PKCS#8 format, which
    openssl reads, serves every key file; nothing ever signs with it.
    """
    if directory.read(LOCAL_FILE) is not None:
        return
    der = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    directory.write(LOCAL_FILE, encrypt_pkcs8(der, passphrase.choose()))


def open_local_key(directory: KeyDirectory, passphrase: Passphrase) -> bytes:
    """The 32 bytes that a control-plane node needs to open its secrets."""
    content = directory.read(LOCAL_FILE)
    if content is None:
        raise Refused(
            "local-key-missing",
            f"{directory.path / LOCAL_FILE}: not there",
            remedy="copy it from the backup of the key directory; without it no secret of the cluster can be opened",
        )
    key = unlock(content, passphrase.get(), file=str(directory.path / LOCAL_FILE))
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise Refused("local-key-kind", f"{directory.path / LOCAL_FILE}: is not a local secrets key")
    return key.private_bytes_raw()


def write_for_node(key: bytes, path: Path, *, directory: KeyDirectory) -> None:
    """The key in the clear, as a node reads it: 0600 before there is content, never over a file that exists, and never
    in the key directory, whose backup holds no plain secret.
    """
    if path.resolve().is_relative_to(directory.path.resolve()):
        raise Invalid("local-key-place", f"{path}: lies in the key directory, which holds nothing in the clear")
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise Invalid(
            "local-key-place", f"{path}: {error.strerror}", remedy="name a file that does not exist"
        ) from error


def seal_fresh(plaintext: bytes, key: SecretsKey, context: Context, public_sha256: str) -> Envelope:
    data_key, wrapped = key.data_key(context)
    return seal(
        plaintext,
        key=key.uri,
        context=context,
        data_key=data_key,
        wrapped_key=wrapped,
        nonce=secrets.token_bytes(NONCE_BYTES),
        public_sha256=public_sha256,
    )
