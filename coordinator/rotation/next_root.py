"""What the next root says: the one before, with one key replaced, or with nothing but a new expiry. Pure."""

import copy
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from coordinator.keys import FILE, URI_FIELD, RoleName, refuse_one_key_twice
from coordinator.tuf_api import Key, Metadata, Root, Signer, SSlibKey
from units.errors import Fatal, Invalid

RootRole = Literal["root", "targets", "timestamp"]

# Snapshot and timestamp are one key: who holds it can re-sign freshness, and change nothing (DESIGN section 4).
ROLES: Final[dict[RootRole, tuple[RoleName, ...]]] = {
    "root": ("root",),
    "targets": ("targets",),
    "timestamp": ("snapshot", "timestamp"),
}
_FILES: Final[dict[RootRole, str]] = {"root": "root", "targets": "targets", "timestamp": "online"}


def uri_of(key: Key) -> str:
    return str(key.unrecognized_fields.get(URI_FIELD, ""))


def new_key_uri(root: Root, role: RootRole) -> str:
    """Named after the root version that brings it, so that a crash and a second run make one key."""
    return f"{FILE}{_FILES[role]}-v{root.version + 1}.pem"


def keys_to_replace(root: Root, role: RootRole, replaced: str | None) -> tuple[str, ...]:
    """Key ids that go. Of several root keys one goes at a time, and the operator says which."""
    keyids = list(dict.fromkeys(keyid for name in ROLES[role] for keyid in root.roles[name].keyids))
    if role != "root" or (len(keyids) == 1 and replaced is None):
        return tuple(keyids)
    known = {keyid: uri_of(root.keys[keyid]).removeprefix(FILE) for keyid in keyids}
    found = [k for k, uri in known.items() if replaced and (uri == replaced or k.startswith(replaced))]
    if len(found) != 1:
        names = ", ".join(f"{uri} ({keyid[:8]})" for keyid, uri in known.items())
        raise Invalid(
            "root-key-unknown",
            f"--replace {replaced or '(nothing)'}: names {len(found)} of the root keys; they are: {names}",
            remedy="name one of them: --replace root-1.pem",
        )
    return tuple(found)


def next_root(root: Root, role: RootRole, goes: Sequence[str], comes: SSlibKey | None, expires: datetime) -> Root:
    """`comes` is None for a renewal: the same keys, and a new expiry."""
    following = copy.deepcopy(root)
    following.version += 1
    following.expires = expires
    if comes is not None:
        for name in ROLES[role]:
            for keyid in [keyid for keyid in goes if keyid in following.roles[name].keyids]:
                following.revoke_key(keyid, name)
            following.add_key(comes, name)
        refuse_one_key_twice(list(following.keys.values()))
    return following


def signed_by_both(before: Root, following: Root, signers: Sequence[Signer]) -> bytes:
    """Signed by the threshold of the root before and by its own (TUF specification 6.1)."""
    metadata = Metadata(following)
    for signer in signers:
        metadata.sign(signer, append=True)
    for root in (before, following):
        result = root.get_verification_result("root", metadata.signed_bytes, metadata.signatures)
        if not result.verified:
            raise Fatal(
                "root-not-signed", f"root {following.version} lacks signatures that root {root.version} asks for"
            )
    return metadata.to_bytes()
