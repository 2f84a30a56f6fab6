"""Who signs what, for how long, and what encrypts the cluster's secrets."""

from typing import Annotated

from pydantic import Field

from coordinator.spec.model import SpecModel
from coordinator.spec.words import Text

SecretsKey = Annotated[
    str,
    Text(
        r"local|awskms:arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:(?:key|alias)/[A-Za-z0-9/_-]+",
        "local, or awskms: followed by the ARN of a KMS key",
        "awskms:arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        2048,
    ),
]


class ExpiryDays(SpecModel):
    """Days until the metadata of a role expires unless it is signed again."""

    root: Annotated[int, Field(ge=30, le=3650)] = 365
    """The root of trust; renewing it needs the offline keys."""
    targets: Annotated[int, Field(ge=7, le=3650)] = 365
    """The manifests; signed at every publish."""
    snapshot: Annotated[int, Field(ge=7, le=3650)] = 365
    """The list of versions; signed at every publish and refresh."""
    timestamp: Annotated[int, Field(ge=2, le=90)] = 14
    """Freshness; `coordinator refresh` renews it, run it daily. It bounds how long a thief can hide an update."""


class Trust(SpecModel):
    """The signed repository and the encryption of private keys in the store."""

    secrets_key: SecretsKey = "local"
    """What encrypts CA keys and other secrets in the store: a KMS key, or `local`, a passphrase-protected key file."""
    root_threshold: Annotated[int, Field(ge=1, le=10)] = 1
    """How many root keys must sign a new root. 2 of 3 is recommended for anything that matters."""
    expiry_days: ExpiryDays = ExpiryDays()
    """Lifetimes of the signed metadata."""
