"""The keys that init makes, and the first root that names them."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from coordinator.aws.kms import SCHEME as KMS
from coordinator.key_directory import KeyDirectory
from coordinator.keys import (
    FILE,
    SigningKey,
    make_signing_key,
    protect,
    public_half,
    refuse_one_key_twice,
    unlock,
    with_uri,
)
from coordinator.passphrase import Passphrase
from coordinator.tuf_api import CryptoSigner, Metadata, Root, SSlibKey
from units.errors import Invalid

TARGETS_FILE: Final = f"{FILE}targets.pem"
ONLINE_FILE: Final = f"{FILE}online.pem"

PublicKeyOf = Callable[[str], SSlibKey]  # of a KMS key, by URI


class KeyPlan(BaseModel):
    """Which keys a cluster gets. `targets` signs content, `online` signs freshness only (DESIGN section 4)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root_keys: int = Field(default=1, ge=1, le=10)
    threshold: int = Field(default=1, ge=1, le=10)
    targets: str = TARGETS_FILE
    online: str = ONLINE_FILE

    @property
    def root_uris(self) -> tuple[str, ...]:
        return tuple(f"{FILE}root-{number}.pem" for number in range(1, self.root_keys + 1))

    @property
    def key_files(self) -> tuple[str, ...]:
        uris = (*self.root_uris, self.targets, self.online)
        return tuple(uri.removeprefix(FILE) for uri in uris if uri.startswith(FILE))

    @property
    def is_weak(self) -> bool:
        """One stolen or lost root key is the end of the cluster's trust."""
        return self.threshold == 1


def make_key_plan(*, root_keys: int | None, threshold: int, targets: str | None, online: str | None) -> KeyPlan:
    """With what the operator left out: one key more than the threshold asks for, so that one may be lost."""
    count = root_keys if root_keys is not None else threshold + 1 if threshold > 1 else 1
    if not 1 <= threshold <= count <= 10:
        raise Invalid(
            "root-threshold",
            f"{threshold} of {count} root keys: from 1 to 10 keys, and a threshold of at most as many, are allowed",
            remedy="2 of 3 is recommended: --root-keys 3 --threshold 2",
        )
    for option, uri in (("--targets-key", targets), ("--online-key", online)):
        if uri is not None and not uri.startswith(KMS):
            raise Invalid("signing-key-uri", f"{option}: {uri!r}; awskms:ARN is allowed, or nothing for a key file")
    if targets is not None and targets == online:
        raise Invalid(
            "one-key-twice",
            "--targets-key and --online-key are the same key: whoever re-signs freshness could then change content",
            remedy="create two KMS keys",
        )
    return KeyPlan(root_keys=count, threshold=threshold, targets=targets or TARGETS_FILE, online=online or ONLINE_FILE)


def make_key_files(plan: KeyPlan, directory: KeyDirectory, passphrase: Passphrase) -> None:
    """Those that are not there yet; an existing one is never written again."""
    kept = next((name for name in plan.key_files if directory.read(name) is not None), None)
    if kept is not None:
        # After a crash: all files under one passphrase, or none of the new ones.
        unlock(directory.read(kept) or b"", passphrase.get(), file=str(directory.path / kept))
    for name in plan.key_files:
        if directory.read(name) is None:
            directory.write(name, protect(make_signing_key(), passphrase.choose()))


def sign_first_root(
    plan: KeyPlan,
    directory: KeyDirectory,
    passphrase: Passphrase,
    *,
    kms_public_key: PublicKeyOf,
    expires: datetime,
) -> bytes:
    """Root version 1, signed by every root key."""
    roots = [(_open(uri, directory, passphrase), uri) for uri in plan.root_uris]
    public = [public_half(key, uri) for key, uri in roots]
    targets, online = (
        with_uri(kms_public_key(uri), uri)
        if uri.startswith(KMS)
        else public_half(_open(uri, directory, passphrase), uri)
        for uri in (plan.targets, plan.online)
    )
    refuse_one_key_twice([*public, targets, online])
    root = Root(1, expires=expires, consistent_snapshot=True)
    for key in public:
        root.add_key(key, "root")
    root.roles["root"].threshold = plan.threshold
    root.add_key(targets, "targets")
    root.add_key(online, "snapshot")
    root.add_key(online, "timestamp")
    metadata = Metadata(root)
    for (private, _), key in zip(roots, public, strict=True):
        metadata.sign(CryptoSigner(private, key), append=True)
    root.verify_delegate("root", metadata.signed_bytes, metadata.signatures)
    return metadata.to_bytes()


def _open(uri: str, directory: KeyDirectory, passphrase: Passphrase) -> SigningKey:
    name = uri.removeprefix(FILE)
    content = directory.read(name)
    assert content is not None  # make_key_files has just made it
    return unlock(content, passphrase.get(), file=str(directory.path / name))
