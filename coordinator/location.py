"""Which cluster a command is about, and everything opened for it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coordinator.aws.session import Aws
from coordinator.key_directory import KeyDirectory, default_key_directory
from coordinator.passphrase import Passphrase
from coordinator.store import Store
from units.errors import Invalid

if TYPE_CHECKING:
    from coordinator.keys import SigningKeys
    from coordinator.repository import Repository
    from coordinator.spec import ClusterSpec

DEFAULT_SPEC = Path("cluster.yaml")


@dataclass(frozen=True, slots=True)
class Where:
    """What the operator said: a spec, or the place itself."""

    file: Path | None = None
    store: str | None = None
    cluster: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    keys: Path | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster, located. Opening the store or the keys costs nothing until they are used."""

    name: str
    location: str  # s3://BUCKET[/PREFIX] or file:///DIRECTORY, without the cluster's folder
    aws: Aws
    directory: KeyDirectory
    spec: "ClusterSpec | None"

    @property
    def bucket(self) -> str | None:
        """None for a store that is a directory."""
        return self.location.removeprefix("s3://").partition("/")[0] if self.location.startswith("s3://") else None

    def open_store(self) -> Store:
        from coordinator.aws.s3 import S3Store
        from coordinator.directory_store import DirectoryStore

        if (bucket := self.bucket) is not None:
            prefix = self.location.removeprefix("s3://").partition("/")[2].strip("/")
            return S3Store(self.aws, bucket, f"{prefix}/{self.name}" if prefix else self.name)
        return DirectoryStore(Path(self.location.removeprefix("file://")) / self.name)

    def open_repository(self) -> "Repository":
        from coordinator.anchor import Anchor
        from coordinator.repository import Repository

        return Repository(self.open_store(), Anchor(self.directory))

    def signing_keys(self, passphrase: Passphrase | None = None) -> "SigningKeys":
        from coordinator.aws.kms import KmsSigner
        from coordinator.keys import SigningKeys

        return SigningKeys(self.directory, passphrase or Passphrase(), lambda uri, key: KmsSigner(self.aws, uri, key))


def locate(where: Where) -> Cluster:
    """From -f, else from --store and --cluster, else from ./cluster.yaml. What is said on the command line wins."""
    file = where.file
    if file is None and where.store is None and where.cluster is None and DEFAULT_SPEC.exists():
        file = DEFAULT_SPEC
    spec = _load(file) if file is not None else None
    name = where.cluster or (spec.name if spec else None)
    location = where.store or (spec.store if spec else None)
    if name is None or location is None:
        raise Invalid(
            "cluster-unknown",
            f"no {'cluster' if name is None else 'store'} was named",
            remedy="give -f cluster.yaml, or --store s3://BUCKET[/PREFIX] and --cluster NAME",
        )
    if spec is not None and name != spec.name:
        raise Invalid("cluster-differs", f"--cluster {name!r}, but {file} describes {spec.name!r}")
    endpoint = where.endpoint_url or (spec.aws.endpoint_url if spec else None) or os.environ.get("AWS_ENDPOINT_URL")
    return Cluster(
        name=name,
        location=_checked_location(location),
        aws=Aws(where.region or (spec.region if spec else None), endpoint.rstrip("/") if endpoint else None),
        directory=KeyDirectory(where.keys or default_key_directory(name)),
        spec=spec,
    )


def _load(file: Path) -> "ClusterSpec":
    from coordinator.spec import load_spec

    return load_spec(file)


def _checked_location(location: str) -> str:
    plain = location.rstrip("/")
    if plain.startswith("s3://") and plain != "s3:/":
        return plain
    if plain.startswith("file:///"):
        return plain
    raise Invalid(
        "store-invalid",
        f"--store {location!r}; s3://BUCKET[/PREFIX] or file:///DIRECTORY is allowed",
        remedy=f"did you mean s3://{location.removeprefix('s3:').strip('/')}?",
    )
