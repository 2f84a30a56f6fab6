"""From a proven instance to its certificates: every name is EC2's, nothing of a CSR but its key is used (N18)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.issuer.codes import later, refused
from agent.issuer.instance_rules import InstanceCase
from pki.authority import Authority
from pki.errors import PkiError
from pki.keys import PublicKey
from pki.request import CertificateRequest, csr_public_key

KeyOf = Callable[[bytes], PublicKey]


@dataclass(frozen=True, slots=True)
class Signing:
    authority: Authority
    leaf_seconds: int
    key_of: KeyOf = csr_public_key

    def keys(self, csrs: Mapping[str, bytes]) -> dict[str, PublicKey]:
        """Refused `csr-refused` unless each CSR proves that its sender holds an acceptable key."""
        try:
            return {profile: self.key_of(csr) for profile, csr in csrs.items()}
        except PkiError as error:
            raise refused("csr-refused", f"{error}") from error

    def sign(self, case: InstanceCase, keys: Mapping[str, PublicKey], now: datetime) -> dict[str, bytes]:
        try:
            return {
                profile: self.authority.issue(self._request(profile, case), key, now) for profile, key in keys.items()
            }
        except PkiError as error:  # of the authority, or a name that X.509 cannot hold: no fault of the caller's
            raise later("issuer-failed", f"{error}", after=30) from error

    def _request(self, profile: str, case: InstanceCase) -> CertificateRequest:
        server = profile == "kubelet-server"
        return CertificateRequest(
            profile=profile,
            name="" if profile == "kube-proxy" else case.node_name,
            ip_addresses=(case.instance.private_ip,) if server else (),
            lifetime=timedelta(seconds=self.leaf_seconds),
        )
