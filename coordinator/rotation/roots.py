"""Replace a signing key of the repository, so that a node at the old root follows without ever finding a gap.

1. The new key is made, and the next root signed, by the old threshold and by its own. Both are kept first.
2. For targets and timestamp: all is signed once more, by the old key *and* by the new one, in an ordinary commit.
3. The next root is written, only where none is. Who has it wants the new signature, who has not wants the old one.
Stopped anywhere, the next run finishes it: it knows from `next-root.json` what was decided.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from coordinator.anchor import Anchor
from coordinator.aws.kms import SCHEME as KMS
from coordinator.draft import Draft
from coordinator.key_directory import KeyDirectory
from coordinator.keys import FILE, RoleName, SigningKeys, make_signing_key, protect, public_half, unlock, with_uri
from coordinator.layout import metadata_key
from coordinator.passphrase import Passphrase
from coordinator.repository import Clock, Repository
from coordinator.root_keys import PublicKeyOf
from coordinator.rotation.next_root import (
    RootRole,
    keys_to_replace,
    new_key_uri,
    next_root,
    signed_by_both,
    uri_of,
)
from coordinator.state import State
from coordinator.store import MAX_OBJECT_BYTES, Conflict, Listed, Progress, Store, Stored, no_progress
from coordinator.tuf_api import Metadata, Root, Signer, SSlibKey
from units.errors import Fatal, Invalid, Refused, Retryable

PENDING_FILE: Final = "next-root.json"


@dataclass(frozen=True, slots=True)
class RootRequest:
    """`key`: `awskms:ARN` instead of a key file. `replaced`: which of several root keys. `renew`: no key changes."""

    role: RootRole
    key: str | None = None
    replaced: str | None = None
    renew: bool = False


@dataclass(frozen=True, slots=True)
class RootTools:
    """The outside things a root rotation works with."""

    store: Store
    directory: KeyDirectory
    signing: SigningKeys
    passphrase: Passphrase
    kms_public_key: PublicKeyOf
    clock: Clock

    def repository(self, store: Store | None = None) -> Repository:
        return Repository(store or self.store, Anchor(self.directory), clock=self.clock)


@dataclass(frozen=True, slots=True)
class PlannedRoot:
    """What would be done, for a person to look at."""

    state: State
    goes: tuple[str, ...]  # URIs
    comes: str  # URI; empty for a renewal
    unfinished: bool  # an earlier rotation was stopped half way, and is finished first


class Pending(BaseModel):
    """Decided and signed; kept before anything of it is published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    role: RootRole
    renew: bool
    version: int
    root: str  # base64 of the signed metadata
    done: bool = False

    @property
    def body(self) -> bytes:
        return base64.b64decode(self.root)


@dataclass(frozen=True)
class TwofoldKeys(SigningKeys):
    """Signs for each role with the keys of two roots at once."""

    following: Root

    def signers(self, root: Root, *roles: RoleName) -> dict[str, list[Signer]]:
        now = SigningKeys.signers(self, root, *roles)
        later = SigningKeys.signers(self, self.following, *roles)
        both = {role: [*now[role], *later[role]] for role in roles}
        return {
            role: list({signer.public_key.keyid: signer for signer in signers}.values())
            for role, signers in both.items()
        }


@dataclass(frozen=True, slots=True)
class HiddenRootStore:
    """The store as a node sees it that has not found the next root yet."""

    store: Store
    hidden: str  # key

    @property
    def url(self) -> str:
        return self.store.url

    def get(self, key: str, *, limit: int = MAX_OBJECT_BYTES) -> Stored | None:
        return None if key == self.hidden else self.store.get(key, limit=limit)

    def put(self, key: str, body: bytes, *, if_none_match: bool = False, if_match: str | None = None) -> str:
        return self.store.put(key, body, if_none_match=if_none_match, if_match=if_match)

    def put_file(self, key: str, path: Path, *, sha256: str, progress: Progress = no_progress) -> None:
        self.store.put_file(key, path, sha256=sha256, progress=progress)

    def delete(self, key: str) -> None:
        self.store.delete(key)

    def size(self, key: str) -> int | None:
        return self.store.size(key)

    def list(self, prefix: str) -> Iterator[Listed]:
        return self.store.list(prefix)


def prepare_root(request: RootRequest, tools: RootTools) -> PlannedRoot:
    """What a rotation would do. Nothing is made."""
    pending = _pending(tools)
    if pending is not None and not pending.done:
        state = _state_before(pending, tools)
        goes, comes = _difference(state.root, _root(pending.body))
        return PlannedRoot(state, goes, comes, unfinished=True)
    state = tools.repository().read()
    goes = () if request.renew else keys_to_replace(state.root, request.role, request.replaced)
    comes = "" if request.renew else _new_uri(request, state.root)
    return PlannedRoot(state, tuple(uri_of(state.root.keys[keyid]) for keyid in goes), comes, unfinished=False)


def rotate_root(request: RootRequest, tools: RootTools, *, by: str) -> State:
    """Publish the next root, read back as a node would; an unfinished one is finished instead of beginning another."""
    tools.directory.prepare()
    with tools.directory.locked():
        pending = _pending(tools)
        if pending is None or pending.done:
            pending = _decide(request, tools)
            _keep(pending, tools)
        return _finish(pending, tools, by=by)


def _decide(request: RootRequest, tools: RootTools) -> Pending:
    state = tools.repository().read()
    # First: a wrong passphrase, or too few root keys here, must show before a new key file is made under it.
    tools.signing.signers(state.root, "root")
    goes = () if request.renew else keys_to_replace(state.root, request.role, request.replaced)
    comes = None if request.renew else _new_key(_new_uri(request, state.root), tools)
    expires = state.note.lifetimes.until("root", tools.clock())
    following = next_root(state.root, request.role, goes, comes, expires)
    keys = _twofold(tools, following)
    body = signed_by_both(state.root, following, keys.signers(state.root, "root")["root"])
    return Pending(
        role=request.role,
        renew=request.renew,
        version=following.version,
        root=base64.b64encode(body).decode(),
    )


def _finish(pending: Pending, tools: RootTools, *, by: str) -> State:
    key, body = metadata_key("root", pending.version), pending.body
    signs_content = pending.role != "root" and not pending.renew
    published = tools.store.get(key)
    if published is None:
        if signs_content:
            _sign_twofold(tools.repository(), pending, tools, by=by)
        published = _put_root(key, body, tools)
    if published.body != body:
        _keep(pending.model_copy(update={"done": True}), tools)
        raise Retryable(
            "root-overtaken",
            f"{tools.store.url}/{key}: somebody else published root {pending.version}; ours was not",
            remedy="look at `coordinator trust status`, and run the command again if it is still needed",
        )
    try:
        state = tools.repository().read()
    except Refused:
        if not signs_content:
            raise
        # Somebody refreshed or published with the old key alone, between our signatures and our root.
        _sign_twofold(tools.repository(HiddenRootStore(tools.store, key)), pending, tools, by=by)
        state = tools.repository().read()
    if state.root.version < pending.version:
        raise Fatal("root-not-read-back", f"{tools.store.url}: root {state.root.version} is read back")
    _keep(pending.model_copy(update={"done": True}), tools)
    return state


def _sign_twofold(repository: Repository, pending: Pending, tools: RootTools, *, by: str) -> None:
    what = f"rotate the {pending.role} key: root {pending.version}"
    repository.commit(lambda _state: Draft(what=what, by=by), _twofold(tools, _root(pending.body)))


def _put_root(key: str, body: bytes, tools: RootTools) -> Stored:
    try:
        return Stored(body, tools.store.put(key, body, if_none_match=True))
    except Conflict:
        stored = tools.store.get(key)
        if stored is None:
            raise
        return stored


def _state_before(pending: Pending, tools: RootTools) -> State:
    return tools.repository(HiddenRootStore(tools.store, metadata_key("root", pending.version))).read()


def _difference(before: Root, after: Root) -> tuple[tuple[str, ...], str]:
    goes = tuple(uri_of(key) for keyid, key in before.keys.items() if keyid not in after.keys)
    comes = ", ".join(uri_of(key) for keyid, key in after.keys.items() if keyid not in before.keys)
    return goes, comes


def _new_uri(request: RootRequest, root: Root) -> str:
    if request.key is not None and not request.key.startswith(KMS):
        raise Invalid(
            "signing-key-uri",
            f"--key {request.key!r}; awskms:ARN is allowed, or nothing for a key file",
            remedy="leave --key out: the file is made and named for you",
        )
    if request.key is None:
        goes = [uri_of(root.keys[keyid]) for keyid in keys_to_replace(root, request.role, request.replaced)]
        if any(uri.startswith(KMS) for uri in goes):
            raise Invalid(
                "signing-key-uri",
                f"the {request.role} key is in KMS ({', '.join(goes)}): its successor must be named",
                remedy="create a P-256 key there and name it: --key awskms:ARN",
            )
    return request.key or new_key_uri(root, request.role)


def _new_key(uri: str, tools: RootTools) -> SSlibKey:
    if uri.startswith(KMS):
        return with_uri(tools.kms_public_key(uri), uri)
    name = uri.removeprefix(FILE)
    content = tools.directory.read(name)
    if content is None:
        content = protect(make_signing_key(), tools.passphrase.choose())
        tools.directory.write(name, content)
    return public_half(unlock(content, tools.passphrase.get(), file=str(tools.directory.path / name)), uri)


def _twofold(tools: RootTools, following: Root) -> TwofoldKeys:
    keys = tools.signing
    return TwofoldKeys(keys.directory, keys.passphrase, keys.kms, following)


def _root(body: bytes) -> Root:
    return Metadata[Root].from_bytes(body).signed


def _pending(tools: RootTools) -> Pending | None:
    content = tools.directory.read(PENDING_FILE)
    if content is None:
        return None
    try:
        return Pending.model_validate_json(content)
    except ValidationError as error:
        raise Fatal(
            "next-root-damaged",
            f"{tools.directory.path / PENDING_FILE}: {error}",
            remedy="restore it from the backup of the key directory; or delete it, if no rotation was under way",
        ) from error


def _keep(pending: Pending, tools: RootTools) -> None:
    tools.directory.write(PENDING_FILE, (pending.model_dump_json(indent=1) + "\n").encode())
