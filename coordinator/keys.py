"""The signing keys of the repository's roles: made, found by the URI in the signed root, opened for signing.

Every key in root.json carries `x-bootwright-uri`: `file:NAME.pem` in the key directory, or `awskms:ARN`. So whoever has
the trusted root knows which keys a publish needs.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from coordinator.aws.kms import SCHEME as KMS
from coordinator.key_directory import KeyDirectory
from coordinator.passphrase import Passphrase
from coordinator.pkcs8 import encrypt_pkcs8
from coordinator.tuf_api import CryptoSigner, Key, Root, Signer, SSlibKey
from units.errors import Fatal, Invalid, Refused

FILE: Final = "file:"
URI_FIELD: Final = "x-bootwright-uri"

RoleName = Literal["root", "targets", "snapshot", "timestamp"]
SigningKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
KmsSignerFactory = Callable[[str, Key], Signer]


def make_signing_key() -> SigningKey:
    """P-256, as in KMS and smart cards: one algorithm for every key of the repository."""
    return ec.generate_private_key(ec.SECP256R1())


def protect(key: SigningKey, passphrase: bytes) -> bytes:
    """The content of a key file."""
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return encrypt_pkcs8(der, passphrase)


def unlock(content: bytes, passphrase: bytes, *, file: str) -> SigningKey:
    """The key in a file; Refused on a wrong passphrase, and on a file that holds a key in the clear."""
    if b"BEGIN ENCRYPTED PRIVATE KEY" not in content:
        raise Refused(
            "signing-key-unprotected",
            f"{file}: holds no passphrase-protected key; only `ENCRYPTED PRIVATE KEY` (PKCS#8) is allowed",
            remedy="restore it from the backup, or protect it with `openssl pkcs8 -topk8 -scrypt`",
        )
    try:
        key = serialization.load_pem_private_key(content, passphrase)
    except ValueError:
        # `from None`: a parser may quote its input.
        raise Refused(
            "passphrase-wrong",
            f"{file}: the passphrase does not open it, or the file is damaged",
            remedy="try again; if it is lost, restore the key directory's backup",
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
        raise Invalid("signing-key-kind", f"{file}: a key of type {type(key).__name__}; P-256 or Ed25519 is allowed")
    return key


def public_half(key: SigningKey, uri: str) -> SSlibKey:
    """What root.json says of a key."""
    return with_uri(SSlibKey.from_crypto(key.public_key()), uri)


def with_uri(key: SSlibKey, uri: str) -> SSlibKey:
    return SSlibKey(key.keyid, key.keytype, key.scheme, key.keyval, {URI_FIELD: uri})


def refuse_one_key_twice(keys: list[Key]) -> None:
    """TUF counts key ids, not keys: one key under two ids would satisfy a threshold of two (trust.md 1.2)."""
    seen: dict[str, str] = {}
    for key in keys:
        material = "".join(str(key.keyval.get("public", "")).split())
        other = seen.setdefault(material, key.keyid)
        if other != key.keyid or [each.keyid for each in keys].count(key.keyid) > 1:
            raise Refused(
                "one-key-twice",
                f"keys {other[:8]} and {key.keyid[:8]} of one role are the same key",
                remedy="a threshold counts people only if each has a key of their own",
            )


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """Finds and opens the keys that the trusted root names."""

    directory: KeyDirectory
    passphrase: Passphrase
    kms: KmsSignerFactory

    def signers(self, root: Root, *roles: RoleName) -> dict[str, list[Signer]]:
        """For each role, as many signers as it has keys here; Refused if that is below its threshold.

        Opened at the same time: stretching a passphrase is 0.2 s each.
        """
        wanted = {keyid for role in roles for keyid in root.roles[role].keyids}
        self._ask_early(root, wanted)
        with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as pool:
            opened = dict(zip(wanted, pool.map(lambda keyid: self._open(root.keys[keyid]), wanted), strict=True))
        result: dict[str, list[Signer]] = {}
        for role in roles:
            found = [signer for keyid in root.roles[role].keyids if (signer := opened[keyid])]
            if len(found) < root.roles[role].threshold:
                raise self._missing(root, role, len(found))
            result[role] = found
        return result

    def _ask_early(self, root: Root, wanted: set[str]) -> None:
        """A prompt belongs into the main thread, and only where there is a file to open."""
        uris = [str(root.keys[keyid].unrecognized_fields.get(URI_FIELD, "")) for keyid in wanted]
        if any(uri.startswith(FILE) and self.directory.read(_file_name(uri)) is not None for uri in uris):
            self.passphrase.get()

    def _open(self, key: Key) -> Signer | None:
        uri = str(key.unrecognized_fields.get(URI_FIELD, ""))
        if uri.startswith(KMS):
            return self.kms(uri, key)
        if not uri.startswith(FILE):
            raise Fatal("signing-key-uri", f"key {key.keyid[:8]} of the signed root has no known URI: {uri!r}")
        name = _file_name(uri)
        content = self.directory.read(name)
        if content is None:
            return None
        private = unlock(content, self.passphrase.get(), file=str(self.directory.path / name))
        if public_half(private, uri).keyid != key.keyid or not isinstance(key, SSlibKey):
            raise Refused(
                "signing-key-wrong",
                f"{self.directory.path / name}: is not the key {key.keyid[:8]} that the trusted root names",
                remedy="restore it from the backup of this cluster's key directory",
            )
        return CryptoSigner(private, key)

    def _missing(self, root: Root, role: str, found: int) -> Refused:
        uris = [str(root.keys[keyid].unrecognized_fields.get(URI_FIELD)) for keyid in root.roles[role].keyids]
        return Refused(
            "signing-key-missing",
            f"role {role!r} needs {root.roles[role].threshold} of {', '.join(uris)}; "
            f"{found} of them are in {self.directory.path}",
            remedy="copy the key file here from its backup, or name its directory with --keys",
        )


def _file_name(uri: str) -> str:
    name = uri.removeprefix(FILE)
    if "/" in name or name.startswith(".") or not name:
        raise Fatal("signing-key-uri", f"{uri!r}: a key file is named without its directory")
    return name
