"""A cluster's four authorities and one issued certificate per profile, made once per run."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.certificate import combine
from pki.keys import PrivateKeyPem, load_public_key, make_key, public_key_pem
from pki.profiles import AUTHORITIES, PROFILES, Usage
from pki.request import CertificateRequest

# Today, because the ssl module has no clock of its own to set; whole seconds, as certificates have.
NOW = datetime.now(UTC).replace(microsecond=0)
NODE = "ip-10-99-0-5.eu-west-1.compute.internal"


@dataclass(frozen=True)
class Issued:
    request: CertificateRequest
    key: PrivateKeyPem
    pem: bytes
    authority: Authority

    @property
    def combined(self) -> bytes:
        return combine(self.pem, self.key)

    @property
    def bundle(self) -> bytes:
        return self.authority.certificate.pem


@dataclass(frozen=True)
class Cluster:
    now: datetime
    authorities: dict[str, Authority]
    _key: PrivateKeyPem

    def request(self, profile: str, **changes: object) -> CertificateRequest:
        server = Usage.SERVER in PROFILES[profile].usages
        name = NODE if PROFILES[profile].takes_name else ""
        plain = CertificateRequest(profile=profile, name=name, ip_addresses=("10.99.0.5",) if server else ())
        return replace(plain, **changes)

    def issue(self, profile: str, *, by: Authority | None = None, now: datetime | None = None, **changes: object):
        request = self.request(profile, **changes)
        authority = by or self.authorities[request.authority]
        pem = authority.issue(request, load_public_key(public_key_pem(self._key)), now or self.now)
        return Issued(request, self._key, pem, authority)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return Cluster(NOW, {name: Authority.create(name, NOW) for name in AUTHORITIES}, make_key())


@pytest.fixture(scope="session")
def later() -> Callable[..., datetime]:
    return lambda **duration: NOW + timedelta(**duration)


@pytest.fixture
def openssl(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs openssl on named PEMs: each bytes argument is written to a file whose path takes its place."""

    def run(*arguments: str | bytes) -> subprocess.CompletedProcess[str]:
        words = []
        for number, argument in enumerate(arguments):
            if isinstance(argument, bytes):
                path = tmp_path / f"{number}.pem"
                path.write_bytes(argument)
                words.append(str(path))
            else:
                words.append(argument)
        return subprocess.run(["openssl", *words], capture_output=True, text=True, check=False, timeout=30)

    return run
