"""python-tuf's and securesystemslib's public names, in one place.

Both re-export without `__all__`, which mypy's strict mode calls an error at every import; here it is said once.
"""

from securesystemslib.signer import (  # type: ignore[attr-defined]  # public by their documentation, see above
    CryptoSigner,
    Key,
    SecretsHandler,
    Signature,
    Signer,
    SSlibKey,
)
from tuf.api.metadata import (  # type: ignore[attr-defined]  # public by their documentation, see above
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.ngclient import (  # type: ignore[attr-defined]  # public by their documentation, see above
    FetcherInterface,
    Updater,
    UpdaterConfig,
)

__all__ = [
    "CryptoSigner",
    "FetcherInterface",
    "Key",
    "MetaFile",
    "Metadata",
    "Root",
    "SSlibKey",
    "SecretsHandler",
    "Signature",
    "Signed",
    "Signer",
    "Snapshot",
    "TargetFile",
    "Targets",
    "Timestamp",
    "Updater",
    "UpdaterConfig",
]
