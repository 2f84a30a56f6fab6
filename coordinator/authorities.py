"""The cluster's CAs and service-account key: made once, sealed at once, never in the clear anywhere but in memory."""

import base64
import json
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import get_args

from coordinator.documents import RotatedName
from coordinator.key_directory import KeyDirectory
from coordinator.secrets_key import SecretsKey, seal_fresh
from coordinator.store import Conflict, Store
from pki.authority import Authority as SigningAuthority
from pki.keys import dump_private_key, make_service_account_key, public_key_pem
from units.envelope import (
    SERVICE_ACCOUNT,
    Context,
    authority_secret,
    decode_envelope,
    encode_envelope,
    later_secret,
    object_key,
    public_sha256,
)
from units.errors import Fatal, Refused
from units.manifest import Authority, AuthorityName

AUTHORITY_NAMES: tuple[AuthorityName, ...] = get_args(AuthorityName)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret's public half (PEM) and its envelope, as bytes of the object in the store."""

    public: str
    envelope: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Successor:
    """A key that was made to take over. `secret` is the name of its envelope."""

    secret: str
    sealed: Sealed

    @property
    def public(self) -> str:
        return self.sealed.public


@dataclass(frozen=True, slots=True)
class ClusterSecrets:
    authorities: tuple[Authority, ...]
    service_account_key: str  # PEM public key


class SecretMaker:
    """Makes what is missing. Each secret is written to the key directory first, public half and envelope in one file:
    after a crash the very same one goes to the store, so a second CA is never made; and the file is its backup.
    """

    def __init__(self, directory: KeyDirectory, key: SecretsKey, *, cluster: str, uid: str, now: datetime) -> None:
        self._directory = directory
        self._key = key
        self._cluster = cluster
        self._uid = uid
        self._now = now

    def make_all(self, store: Store) -> ClusterSecrets:
        authorities = []
        for name in AUTHORITY_NAMES:
            secret = authority_secret(name)
            sealed = self._kept(secret) or self._keep(secret, self._seal_authority(name))
            _put(store, secret, sealed)
            authorities.append(Authority(name=name, bundle=sealed.public))
        sealed = self._kept(SERVICE_ACCOUNT) or self._keep(SERVICE_ACCOUNT, self._seal_service_account())
        _put(store, SERVICE_ACCOUNT, sealed)
        return ClusterSecrets(tuple(authorities), sealed.public)

    def successor(self, name: RotatedName, *, of: str) -> Successor:
        """The key that takes over from the one with this SPKI hash; the very same one whenever it is asked for again.

        It is kept under the name of its predecessor: so no crash, and no second look, makes two.
        """
        first = SERVICE_ACCOUNT if name == "service-account" else authority_secret(name)
        file = f"{first}-after-{of[:16]}"
        sealed = self._kept(file)
        if sealed is None:
            make = self._seal_service_account if name == "service-account" else partial(self._seal_authority, name)
            sealed = self._keep(file, make(later=True))
        return Successor(decode_envelope(sealed.envelope).context.name, sealed)

    def _seal_authority(self, name: AuthorityName, *, later: bool = False) -> Sealed:
        authority = SigningAuthority.create(name, self._now)
        private = dump_private_key(authority.key).pem
        secret = authority_secret(name)
        if later:
            secret = later_secret(secret, authority.certificate.spki_sha256)
        return Sealed(authority.certificate.pem.decode(), self._sealed(secret, private))

    def _seal_service_account(self, *, later: bool = False) -> Sealed:
        private = make_service_account_key()
        secret = later_secret(SERVICE_ACCOUNT, public_sha256(private.pem)) if later else SERVICE_ACCOUNT
        return Sealed(public_key_pem(private).decode(), self._sealed(secret, private.pem))

    def _sealed(self, secret: str, private: bytes) -> bytes:
        context = Context(cluster=self._cluster, uid=self._uid, name=secret)
        return encode_envelope(seal_fresh(private, self._key, context, public_sha256(private)))

    def _keep(self, secret: str, sealed: Sealed) -> Sealed:
        document = {"public": sealed.public, "envelope": base64.b64encode(sealed.envelope).decode()}
        self._directory.write(_file(secret), (json.dumps(document, indent=1) + "\n").encode())
        return sealed

    def _kept(self, secret: str) -> Sealed | None:
        content = self._directory.read(_file(secret))
        if content is None:
            return None
        try:
            document = json.loads(content)
            sealed = Sealed(str(document["public"]), base64.b64decode(document["envelope"], validate=True))
        except (ValueError, KeyError, TypeError) as error:
            raise Fatal(
                "sealed-secret-damaged",
                f"{self._directory.path / _file(secret)}: {error}",
                remedy="restore it from the backup of the key directory",
            ) from error
        if (found := decode_envelope(sealed.envelope).key) != self._key.uri:
            raise Refused(
                "secrets-key-changed",
                f"{secret}: was sealed under {found}, but now {self._key.uri} is asked for",
                remedy="use the cluster's own secrets key; it is chosen once, at `coordinator init`",
            )
        return sealed


def _file(secret: str) -> str:
    return f"sealed-{secret}.json"


def store_successor(store: Store, successor: Successor) -> None:
    """Before anything names it; again after a crash, with the same bytes."""
    _put(store, successor.secret, successor.sealed)


def _put(store: Store, secret: str, sealed: Sealed) -> None:
    key = object_key(secret)
    try:
        store.put(key, sealed.envelope, if_none_match=True)
    except Conflict as error:
        stored = store.get(key)
        if stored is None or stored.body != sealed.envelope:
            raise Refused(
                "secret-of-another",
                f"{store.url}/{key}: holds a secret that this key directory did not make",
                remedy="somebody else made keys for this cluster: use the key directory that did",
            ) from error
