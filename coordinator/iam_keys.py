"""Which KMS keys a cluster uses: from the operator's key directory, or, before `init`, from the spec."""

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from coordinator.anchor import ROOT_FILE
from coordinator.aws.kms import SCHEME
from coordinator.founding import RECORD_FILE, Record
from coordinator.iam import Keys
from coordinator.key_directory import KeyDirectory
from coordinator.keys import URI_FIELD
from coordinator.spec.cluster import ClusterSpec
from coordinator.tuf_api import Metadata, Root
from units.errors import Fatal


@dataclass(frozen=True, slots=True)
class Chosen:
    """Keys that init, or a rotation, will be told to use: `awskms:ARN`, or the ARN alone."""

    secrets: str | None = None
    targets: str | None = None
    online: str | None = None


def keys_of(spec: ClusterSpec, directory: KeyDirectory, chosen: Chosen) -> Keys:
    """`uid` is None where the directory holds no cluster."""
    record = _record(directory)
    root = directory.read(ROOT_FILE)
    secrets = _scheme(chosen.secrets) or (record.secrets_key if record else spec.trust.secrets_key)
    targets = [*(_uris(root, "targets") if root else ()), _scheme(chosen.targets)]
    online = [*(uri for role in ("timestamp", "snapshot") for uri in (_uris(root, role) if root else ()))]
    return Keys(
        uid=record.uid if record else None,
        secrets=next(iter(_arns([secrets])), None),
        targets=_arns(targets),
        online=_arns([*online, _scheme(chosen.online)]),
    )


def _scheme(arn: str | None) -> str:
    return f"{SCHEME}{arn.removeprefix(SCHEME)}" if arn else ""


def _record(directory: KeyDirectory) -> Record | None:
    content = directory.read(RECORD_FILE)
    if content is None:
        return None
    try:
        return Record.model_validate_json(content)
    except ValidationError as error:
        raise Fatal("init-record-damaged", f"{directory.path / RECORD_FILE}: {error}") from error


def _uris(root: bytes, role: str) -> list[str]:
    signed = Metadata[Root].from_bytes(root).signed
    return [str(signed.keys[keyid].unrecognized_fields.get(URI_FIELD, "")) for keyid in signed.roles[role].keyids]


def _arns(uris: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({uri.removeprefix(SCHEME) for uri in uris if uri.startswith(SCHEME)}))
