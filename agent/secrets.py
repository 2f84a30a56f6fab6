"""The node's secrets: envelopes from the store, opened with KMS or a local key, and held against the signed manifest.

A thief with write access to the bucket can put any envelope there. What opens is believed only if its public half is
the one that the manifest's signers signed (trust.md, question 3). Plain text stays in memory.
"""

import os
import stat
from collections.abc import Callable
from pathlib import Path

from agent.aws.s3 import Store
from agent.aws.s3_errors import NoSuchKey
from pki.authority import Authority
from pki.certificate import load_certificate
from pki.keys import PrivateKeyPem, load_public_key, spki_sha256
from pki.profiles import AuthorityName
from pki.request import CertificateRequest
from units.envelope import (
    DATA_KEY_BYTES,
    MAX_BYTES,
    Context,
    Envelope,
    decode_envelope,
    local_key_name,
    object_key,
    open_envelope,
    public_sha256,
    require,
    unwrap_locally,
)
from units.errors import Fatal, Refused
from units.host import Clock
from units.manifest import Manifest

LOCAL_KEY = Path("/etc/bootwright/secrets.key")

Unwrap = Callable[[Envelope], bytes]
"""The plain data key of an envelope: `Kms.unwrap`, or that of a local key."""


class NodeSecrets:
    """Implements `units.host.Secrets` for one manifest. `unwrap_with_kms` is called for awskms: keys only."""

    def __init__(
        self,
        manifest: Manifest,
        store: Store,
        prefix: str,
        *,
        unwrap_with_kms: Unwrap,
        clock: Clock,
        local_key: Path = LOCAL_KEY,
    ) -> None:
        self._manifest = manifest
        self._store = store
        self._prefix = prefix
        self._unwrap_with_kms = unwrap_with_kms
        self._clock = clock
        self._local_key = local_key
        self._authorities: dict[AuthorityName, Authority] = {}

    def __repr__(self) -> str:
        return f"NodeSecrets({self._manifest.trust.secrets_key})"

    def open(self, name: str) -> bytes:
        """Refused `secret-wrong-key`, `-wrong-context`, `-tampered` or `-swapped` if it is not what was signed."""
        envelope = self._fetch(name)
        cluster = self._manifest.cluster
        context = Context(cluster=cluster.name, uid=cluster.uid, name=name)
        require(envelope, key=self._manifest.trust.secrets_key, context=context)
        plaintext = open_envelope(envelope, data_key=self._data_key(envelope))
        expected = self._signed_public_half(name)
        if expected is not None and public_sha256(plaintext) != expected:
            raise Refused(
                "secret-swapped",
                f"secret {name!r} opens, but is not the private key of the public half in the signed manifest",
                remedy="somebody who may seal secrets replaced it: restore the object's version, and find out who",
            )
        return plaintext

    def issue(self, request: CertificateRequest, public_key_pem: bytes) -> bytes:
        authority = self._authority(request.authority)
        return authority.issue(request, load_public_key(public_key_pem), self._clock.now())

    def _authority(self, name: AuthorityName) -> Authority:
        """Opened once per run: a control-plane node issues a dozen certificates, and each opening is a call to KMS."""
        if name not in self._authorities:
            public = self._manifest.trust.authority(name)
            key = PrivateKeyPem(self.open(public.secret))
            self._authorities[name] = Authority.load(public.signing.encode(), key)
        return self._authorities[name]

    def _fetch(self, name: str) -> Envelope:
        key = self._prefix + object_key(name)
        try:
            body = self._store.get(key, max_bytes=MAX_BYTES).body
        except NoSuchKey as error:
            raise Fatal(
                "secret-missing",
                f"there is no secret {name!r} at {key}",
                remedy="`coordinator init` makes it; or restore the object's version",
            ) from error
        return decode_envelope(body or b"")

    def _data_key(self, envelope: Envelope) -> bytes:
        if envelope.key.startswith("local:"):
            return unwrap_locally(envelope, local_key=read_local_key(self._local_key, named=envelope.key))
        return self._unwrap_with_kms(envelope)

    def _signed_public_half(self, name: str) -> str | None:
        trust = self._manifest.trust
        if name == trust.service_account_secret and trust.service_account_keys:
            return spki_sha256(load_public_key(trust.service_account_keys[0].encode()))
        for authority in trust.authorities:
            if name == authority.secret:
                return load_certificate(authority.signing.encode()).spki_sha256
        return None


def read_local_key(path: Path, *, named: str) -> bytes:
    """The 32 bytes for people without KMS; refused when others could read them, or when it is another key."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise Fatal(
            "secrets-key-missing",
            f"{path} cannot be read ({error.strerror}), but the cluster's secrets are sealed under {named}",
            remedy="put the cluster's local secrets key there, 32 bytes, owner root, mode 0600; or use KMS",
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_mode & 0o077 or found.st_uid != os.geteuid():
            raise Refused(
                "secrets-key-exposed",
                f"{path} has mode {stat.S_IMODE(found.st_mode):04o}, owner {found.st_uid}; 0600 and root are allowed",
                remedy=f"chown root:root {path}; chmod 0600 {path}; treat the key as known to others",
            )
        key = file.read(DATA_KEY_BYTES + 1)
    if len(key) != DATA_KEY_BYTES or local_key_name(key) != named:
        raise Refused(
            "secrets-key-other",
            f"{path} holds another key than {named}, which the signed manifest names",
            remedy="copy the local secrets key of this cluster there",
        )
    return key
