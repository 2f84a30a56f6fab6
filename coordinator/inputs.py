"""What `compile` is given beside the spec: read back from the signed repository, so nothing in it is unverified."""

from dataclasses import dataclass

from units.envelope import SERVICE_ACCOUNT
from units.manifest import Asset, Authority, Image, Role, Trust
from units.soundness import AUTHORITIES


@dataclass(frozen=True, slots=True)
class PublicTrust:
    """Public halves of what `init` and rotations made. They come from the signed target `cluster.json`."""

    uid: str
    authorities: tuple[Authority, ...]
    service_account_keys: tuple[str, ...]  # PEM public keys; the first one signs
    secrets_key: str  # `awskms:ARN` or `local:ID`
    service_account_secret: str = SERVICE_ACCOUNT  # the envelope of the key that signs

    def for_role(self, role: Role, *, issuer: str) -> Trust:
        """A worker trusts one authority and needs no key: it gets no more than that."""
        everything = role == "control-plane"
        return Trust(
            authorities=tuple(a for a in self.authorities if a.name in AUTHORITIES[role]),
            service_account_keys=self.service_account_keys if everything else (),
            service_account_secret=self.service_account_secret if everything else SERVICE_ACCOUNT,
            service_account_issuer=issuer,
            secrets_key=self.secrets_key,
        )


@dataclass(frozen=True, slots=True)
class AssetCatalogue:
    """What `coordinator assets add` uploaded, oldest first: of several with one name, the last is the newest.

    It comes from the signed target `assets.json`.
    """

    assets: tuple[Asset, ...] = ()
    images: tuple[Image, ...] = ()
