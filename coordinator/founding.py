"""`coordinator init`: a cluster's keys, secrets and first signed state. Run again after a crash, it goes on.

What is decided or made is kept in the key directory before it goes to the store, and everything in the store is written
only where nothing is yet. So no crash makes a second root or a second CA, and a second person cannot either.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from coordinator.anchor import ROOT_FILE
from coordinator.authorities import ClusterSecrets, SecretMaker
from coordinator.documents import AssetsDocument, ClusterDocument, decode_document, encode_document
from coordinator.draft import Draft, NewTarget
from coordinator.key_directory import KeyDirectory
from coordinator.keys import SigningKeys
from coordinator.layout import ASSETS, CLUSTER, TIMESTAMP, metadata_key
from coordinator.passphrase import Passphrase
from coordinator.repository import Clock, Repository
from coordinator.root_keys import KeyPlan, PublicKeyOf, make_key_files, sign_first_root
from coordinator.secrets_key import SecretsKey
from coordinator.state import Lifetimes, State
from coordinator.store import Conflict, Store
from units.errors import Fatal, Invalid, Refused

RECORD_FILE: Final = "init.json"
LOCAL: Final = "local"

Say = Callable[[str], None]


class Record(BaseModel):
    """What was decided when init ran first; the same every time it runs again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    cluster: str
    store: str
    uid: str
    created: str  # RFC 3339, UTC
    keys: KeyPlan
    secrets_key: str  # `local` or `awskms:ARN`
    done: bool = False


@dataclass(frozen=True, slots=True)
class FoundingRequest:
    cluster: str
    keys: KeyPlan
    secrets_key: str
    lifetimes: Lifetimes
    by: str


@dataclass(frozen=True, slots=True)
class FoundingTools:
    """The outside things that founding works with."""

    store: Store
    directory: KeyDirectory
    passphrase: Passphrase
    repository: Repository
    signing: SigningKeys
    kms_public_key: PublicKeyOf
    secrets_key: Callable[[str], SecretsKey]  # makes the local key if it is not there
    clock: Clock
    say: Say


@dataclass(frozen=True, slots=True)
class Founded:
    record: Record
    document: ClusterDocument
    state: State


def found_cluster(request: FoundingRequest, tools: FoundingTools) -> Founded:
    """Refused if the cluster is initialised already, by this key directory or by another."""
    tools.directory.prepare()
    with tools.directory.locked():
        record = _record(request, tools)
        make_key_files(record.keys, tools.directory, tools.passphrase)
        tools.say(f"signing keys in {tools.directory.path}")
        _publish_root(record, request, tools)
        secrets = SecretMaker(
            tools.directory,
            tools.secrets_key(record.secrets_key),
            cluster=record.cluster,
            uid=record.uid,
            now=tools.clock(),
        ).make_all(tools.store)
        tools.say(f"certificate authorities and service-account key, sealed, in {tools.store.url}/secrets/")
        document = _cluster_document(record, secrets, tools.secrets_key(record.secrets_key).uri)
        state = _first_state(document, request, tools)
        tools.say(f"first signed state in {tools.store.url}/tuf/, read back and verified")
        _write_record(record.model_copy(update={"done": True}), tools.directory)
        return Founded(record, document, state)


def _record(request: FoundingRequest, tools: FoundingTools) -> Record:
    """The record of an earlier run, or a new one; Refused where founding would tread on something."""
    content = tools.directory.read(RECORD_FILE)
    if content is None:
        _refuse_strangers_cluster(tools)
        record = Record(
            cluster=request.cluster,
            store=tools.store.url,
            uid=str(uuid.uuid4()),
            created=_rfc3339(tools.clock()),
            keys=request.keys,
            secrets_key=request.secrets_key,
        )
        _write_record(record, tools.directory)
        return record
    try:
        record = Record.model_validate_json(content)
    except ValidationError as error:
        raise Fatal("init-record-damaged", f"{tools.directory.path / RECORD_FILE}: {error}") from error
    if record.done:
        raise Refused(
            "already-initialised",
            f"cluster {record.cluster!r} was initialised at {record.created} in {record.store}; nothing was changed",
            remedy="go on with `coordinator assets add` and `coordinator publish`; for a new cluster choose a new name",
        )
    asked = (request.cluster, tools.store.url, request.keys, request.secrets_key)
    begun = (record.cluster, record.store, record.keys, record.secrets_key)
    if asked != begun:
        raise Refused(
            "init-differs",
            f"an unfinished init in {tools.directory.path} began with {_shown(record)}; "
            f"now asked for: {_shown(record.model_copy(update=dict(zip(_ASKED, asked, strict=True))))}",
            remedy="run it with the same settings as before, or name another directory with --keys",
        )
    return record


_ASKED: Final = ("cluster", "store", "keys", "secrets_key")


def _shown(record: Record) -> str:
    return (
        f"cluster {record.cluster}, store {record.store}, {record.keys.root_keys} root keys with threshold "
        f"{record.keys.threshold}, secrets key {record.secrets_key}"
    )


def _refuse_strangers_cluster(tools: FoundingTools) -> None:
    if tools.store.get(metadata_key("root", 1)) is None:
        return
    raise Refused(
        "already-initialised",
        f"{tools.store.url}: is initialised already, but {tools.directory.path} holds no keys of it; "
        "nothing was changed",
        remedy="name the directory with the cluster's keys with --keys, or choose another cluster name",
    )


def _publish_root(record: Record, request: FoundingRequest, tools: FoundingTools) -> None:
    root = tools.directory.read(ROOT_FILE)
    if root is None:
        now = tools.clock()
        root = sign_first_root(
            record.keys,
            tools.directory,
            tools.passphrase,
            kms_public_key=tools.kms_public_key,
            expires=request.lifetimes.until("root", now),
        )
        tools.directory.write(ROOT_FILE, root)
    key = metadata_key("root", 1)
    try:
        tools.store.put(key, root, if_none_match=True)
    except Conflict as error:
        stored = tools.store.get(key)
        if stored is None or stored.body != root:
            raise Refused(
                "already-initialised",
                f"{tools.store.url}/{key}: somebody else initialised this cluster at the same time",
                remedy=f"use their keys; {tools.directory.path} is of no use and can be deleted",
            ) from error
    tools.say(f"root of trust in {tools.store.url}/{key}")


def _cluster_document(record: Record, secrets: ClusterSecrets, secrets_key: str) -> ClusterDocument:
    return ClusterDocument(
        name=record.cluster,
        uid=record.uid,
        created=record.created,
        authorities=secrets.authorities,
        service_account_keys=(secrets.service_account_key,),
        secrets_key=secrets_key,
    )


def _first_state(document: ClusterDocument, request: FoundingRequest, tools: FoundingTools) -> State:
    draft = Draft(
        what=f"init cluster {document.name}",
        by=request.by,
        targets={
            CLUSTER: NewTarget(encode_document(document)),
            ASSETS: NewTarget(encode_document(AssetsDocument())),
        },
        lifetimes=request.lifetimes,
    )
    if tools.store.get(TIMESTAMP) is None:
        return tools.repository.found(draft, tools.signing).state
    # The commit of an earlier run went through, and then it was stopped.
    state = tools.repository.read()
    published = decode_document(ClusterDocument, tools.repository.read_target(state, CLUSTER))
    if published != document:
        raise Invalid(
            "init-mismatch",
            f"{tools.store.url}: holds cluster {published.uid}, the key directory holds {document.uid}",
            remedy="restore the key directory from its backup",
        )
    return state


def _write_record(record: Record, directory: KeyDirectory) -> None:
    directory.write(RECORD_FILE, (record.model_dump_json(indent=1) + "\n").encode())


def _rfc3339(now: datetime) -> str:
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"
