"""`coordinator assets`: binaries and image archives, uploaded under their hash and named in a signed catalogue."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from coordinator.documents import AgentBundle, AssetsDocument, decode_document, encode_document
from coordinator.draft import Draft, NewTarget
from coordinator.keys import SigningKeys
from coordinator.layout import ASSETS, asset_key
from coordinator.repository import Committed, Repository
from coordinator.state import State
from coordinator.store import Progress, Store
from units.errors import Invalid
from units.manifest import Asset, Image, problems_of

CHUNK: Final = 1024 * 1024
PARALLEL_FILES: Final = 4

Entry = Asset | Image | AgentBundle
Watch = Callable[[Path, int], Progress]  # told of each file with its size before it is uploaded


@dataclass(frozen=True, slots=True)
class Upload:
    path: Path
    entry: Entry


@dataclass(frozen=True, slots=True)
class Added:
    upload: Upload
    was_there: bool  # the same content lay in the store already


def describe_asset(path: Path, *, name: str, install_path: str, mode: int) -> Upload:
    """Hash the file. Invalid if a field of the asset is."""
    digest, size = measure(path)
    return Upload(
        path, _checked(path, lambda: Asset(name=name, sha256=digest, size=size, path=install_path, mode=mode))
    )


def describe_image(path: Path, *, reference: str) -> Upload:
    if not reference or any(character.isspace() for character in reference) or ":" not in reference.rpartition("/")[2]:
        raise Invalid(
            "image-reference",
            f"--image {reference!r}: registry/repository:tag is allowed",
            remedy="name it exactly as static pods do, for example registry.k8s.io/pause:3.10.2",
        )
    digest, size = measure(path)
    return Upload(path, _checked(path, lambda: Image(reference=reference, sha256=digest, size=size)))


def upload_all(store: Store, uploads: list[Upload], watch: Watch) -> list[Added]:
    """Each file under its hash; what is there already, at its full size, is not sent again."""
    with ThreadPoolExecutor(max_workers=PARALLEL_FILES) as pool:
        return list(pool.map(lambda upload: _upload(store, upload, watch), uploads))


def record(repository: Repository, keys: SigningKeys, entries: list[Entry], *, by: str) -> Committed | None:
    """Sign them into the catalogue; None if it says just that already."""

    def decide(state: State) -> Draft | None:
        before = read_catalogue(repository, state)
        after = before
        for entry in entries:
            after = _with(after, entry)
        if after == before:
            return None
        names = ", ".join(label(entry) for entry in entries[:5])
        return Draft(what=f"assets add {names}", by=by, targets={ASSETS: NewTarget(encode_document(after))})

    return repository.commit(decide, keys)


def label(entry: Entry) -> str:
    """What people call it."""
    match entry:
        case Asset():
            return entry.name
        case Image():
            return entry.reference
        case AgentBundle():
            return f"the agent {entry.version} for Python {entry.platform}"


def _with(catalogue: AssetsDocument, entry: Entry) -> AssetsDocument:
    match entry:
        case Asset():
            return catalogue.with_asset(entry)
        case Image():
            return catalogue.with_image(entry)
        case AgentBundle():
            return catalogue.with_agent(entry)


def read_catalogue(repository: Repository, state: State) -> AssetsDocument:
    return decode_document(AssetsDocument, repository.read_target(state, ASSETS))


def _upload(store: Store, upload: Upload, watch: Watch) -> Added:
    key = asset_key(upload.entry.sha256)
    progress = watch(upload.path, upload.entry.size)
    if store.size(key) == upload.entry.size:
        progress(upload.entry.size)
        return Added(upload, was_there=True)
    store.put_file(key, upload.path, sha256=upload.entry.sha256, progress=progress)
    return Added(upload, was_there=False)


def measure(path: Path) -> tuple[str, int]:
    """Sha256 and size. Invalid if it cannot be read or is empty."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise Invalid("asset-unreadable", f"{path}: {error.strerror or error}") from error
    if size == 0:
        raise Invalid("asset-empty", f"{path}: is empty")
    return digest.hexdigest(), size


def _checked(path: Path, make: Callable[[], Entry]) -> Entry:
    try:
        return make()
    except ValidationError as error:
        raise Invalid("asset-invalid", f"{path}: cannot be added", problems=problems_of(error)) from error
