"""The signed targets beside the groups' release documents: `cluster.json` and `assets.json`."""

import json
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from coordinator.inputs import AssetCatalogue, PublicTrust
from units.envelope import SERVICE_ACCOUNT
from units.errors import Fatal
from units.manifest import Asset, Authority, AuthorityName, Image, Name, Part, Sha256, problems_of

Phase = Literal["add", "sign", "retire"]
RotatedName = AuthorityName | Literal["service-account"]


class Rotation(Part):
    """How far the replacement of one key has come. The record of a finished one stays until the next begins."""

    name: RotatedName
    phase: Phase  # the last one that was published
    serial: int = Field(ge=0)  # of the releases that carry it
    published: str  # RFC 3339, UTC
    old: Sha256  # of the SubjectPublicKeyInfo of the key that goes
    new: Sha256


class ClusterDocument(Part):
    """The name, the identity and the public halves of every secret, and how far their replacement has come."""

    format: Literal[1] = 1
    name: Name
    uid: str
    created: str  # RFC 3339, UTC; for people
    authorities: tuple[Authority, ...]
    service_account_keys: tuple[str, ...]
    service_account_secret: Name = SERVICE_ACCOUNT
    secrets_key: str
    rotations: tuple[Rotation, ...] = ()

    def public_trust(self) -> PublicTrust:
        return PublicTrust(
            self.uid, self.authorities, self.service_account_keys, self.secrets_key, self.service_account_secret
        )

    def rotation(self, name: RotatedName) -> Rotation | None:
        return next((rotation for rotation in self.rotations if rotation.name == name), None)


class AgentBundle(Part):
    """The agent for one Python on one kind of machine, content-addressed like an asset; no node's manifest names it."""

    python: Annotated[str, Field(pattern=r"^3\.[0-9]{1,2}$")]
    machine: Literal["x86_64", "aarch64"]  # as uname has it
    version: str  # of bootwright; for people
    sha256: Sha256
    size: int = Field(gt=0)

    @property
    def platform(self) -> str:
        return f"{self.python}-{self.machine}"


class AssetsDocument(Part):
    """Every asset, image and bundle ever added, oldest first."""

    format: Literal[1] = 1
    assets: tuple[Asset, ...] = ()
    images: tuple[Image, ...] = ()
    agents: tuple[AgentBundle, ...] = ()

    def catalogue(self) -> AssetCatalogue:
        return AssetCatalogue(self.assets, self.images)

    def with_asset(self, asset: Asset) -> "AssetsDocument":
        """Added as the newest; the same content under the same name only moves to the end."""
        others = tuple(each for each in self.assets if (each.name, each.sha256) != (asset.name, asset.sha256))
        return self.model_copy(update={"assets": (*others, asset)})

    def with_image(self, image: Image) -> "AssetsDocument":
        others = tuple(each for each in self.images if (each.reference, each.sha256) != (image.reference, image.sha256))
        return self.model_copy(update={"images": (*others, image)})

    def with_agent(self, bundle: AgentBundle) -> "AssetsDocument":
        others = tuple(each for each in self.agents if (each.platform, each.sha256) != (bundle.platform, bundle.sha256))
        return self.model_copy(update={"agents": (*others, bundle)})

    @property
    def newest_agents(self) -> tuple[AgentBundle, ...]:
        """The last one added for each platform, by platform."""
        newest = {bundle.platform: bundle for bundle in self.agents}
        return tuple(newest[platform] for platform in sorted(newest))


Document = TypeVar("Document", ClusterDocument, AssetsDocument)


def encode_document(document: ClusterDocument | AssetsDocument) -> bytes:
    """Deterministic bytes: same document, same hash."""
    return (json.dumps(document.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()


def decode_document(model: type[Document], data: bytes) -> Document:
    """From verified bytes; Fatal when a newer coordinator wrote them."""
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        details = "; ".join(str(problem) for problem in problems_of(error))
        raise Fatal(
            "document-unknown",
            f"the signed {model.__name__} does not fit this coordinator: {details}",
            remedy="use the coordinator version that wrote it, or a newer one",
        ) from error
