"""The issuer as a worker asks it: proof of identity, or a renewal over mutual TLS (trust.md 2.3)."""

from collections.abc import Mapping

from agent.aws.imds import Imds
from units.errors import Fatal
from units.manifest import Manifest


class IssuerClient:
    """Implements `units.host.Issuer` for one manifest."""

    def __init__(self, manifest: Manifest, imds: Imds) -> None:
        self._manifest = manifest
        self._imds = imds

    def issue(self, csrs: Mapping[str, bytes], credential: bytes | None) -> Mapping[str, bytes]:
        del credential
        raise Fatal("issuer-client", f"not yet: {', '.join(csrs)}")
