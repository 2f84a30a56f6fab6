"""What `compile` is given beside the spec: read back from the signed repository, so nothing in it is unverified."""

from dataclasses import dataclass

from units.manifest import Asset, Authority, Image


@dataclass(frozen=True, slots=True)
class PublicTrust:
    """Public halves of what `coordinator init` made. They come from the signed target `cluster.json`."""

    uid: str
    authorities: tuple[Authority, ...]
    service_account_keys: tuple[str, ...]  # PEM public keys; the first one signs
    secrets_key: str  # `awskms:ARN` or `local:ID`


@dataclass(frozen=True, slots=True)
class AssetCatalogue:
    """What `coordinator assets add` uploaded, oldest first: of several with one name, the last is the newest.

    It comes from the signed target `assets.json`.
    """

    assets: tuple[Asset, ...] = ()
    images: tuple[Image, ...] = ()
