"""The judges outside of Python: OpenSSL in its strictest mode, and zlint where it is installed."""

import json
import shutil
import subprocess

import pytest

from pki.authority import Authority
from pki.chain import bundle
from pki.keys import make_key
from pki.profiles import AUTHORITIES, PROFILES, Usage
from pki.request import build_csr

PURPOSES = {Usage.SERVER: "sslserver", Usage.CLIENT: "sslclient"}


def verify(
    openssl, issued, purpose: str, *options: str | bytes, ca: bytes = b"", now
) -> subprocess.CompletedProcess[str]:
    return openssl(
        "verify", "-x509_strict", "-check_ss_sig", "-purpose", purpose, "-attime", str(int(now.timestamp())),
        *options, "-CAfile", ca or issued.bundle, issued.pem,
    )  # fmt: skip


@pytest.mark.parametrize("name", PROFILES)
def test_openssl_verifies_every_certificate_for_its_uses_and_no_other(cluster, openssl, name: str) -> None:
    issued = cluster.issue(name)
    for usage, purpose in PURPOSES.items():
        verdict = verify(openssl, issued, purpose, now=cluster.now)
        assert (verdict.returncode == 0) == (usage in PROFILES[name].usages), verdict.stderr
        if verdict.returncode:
            # 3.0 says "unsupported certificate purpose", 3.2 and later "unsuitable".
            assert "certificate purpose" in verdict.stderr


@pytest.mark.parametrize("name", PROFILES)
def test_openssl_refuses_every_certificate_under_another_authority(cluster, openssl, name: str) -> None:
    issued = cluster.issue(name)
    twin = Authority.create(issued.authority.name, cluster.now).certificate.pem
    verdict = verify(openssl, issued, PURPOSES[PROFILES[name].usages[0]], ca=twin, now=cluster.now)
    assert verdict.returncode != 0


def test_openssl_finds_the_right_one_of_two_authorities_with_one_name(cluster, openssl) -> None:
    issued = cluster.issue("apiserver")
    both = bundle(Authority.create("kubernetes", cluster.now).certificate.pem, issued.bundle)
    assert verify(openssl, issued, "sslserver", ca=both, now=cluster.now).returncode == 0


@pytest.mark.parametrize(
    ("option", "value"), [("-verify_hostname", "kubernetes.default.svc"), ("-verify_ip", "10.99.0.5")]
)
def test_openssl_finds_the_names_of_the_api_server(cluster, openssl, option: str, value: str) -> None:
    issued = cluster.issue("apiserver")
    assert verify(openssl, issued, "sslserver", option, value, now=cluster.now).returncode == 0
    assert verify(openssl, issued, "sslserver", option, value + "1", now=cluster.now).returncode != 0


def test_openssl_sees_the_backdating_and_the_end_of_life(cluster, openssl, later) -> None:
    issued = cluster.issue("kube-proxy")
    for now, good in (
        (later(minutes=-59), True),
        (later(minutes=-61), False),
        (later(days=365, seconds=-1), True),
        (later(days=365, seconds=1), False),
    ):
        assert (verify(openssl, issued, "sslclient", now=now).returncode == 0) == good


@pytest.mark.parametrize("name", PROFILES)
def test_openssl_accepts_every_csr(cluster, openssl, name: str) -> None:
    csr = build_csr(cluster.request(name), make_key())
    verdict = openssl("req", "-noout", "-verify", "-in", csr)
    assert verdict.returncode == 0
    assert "OK" in verdict.stdout + verdict.stderr


# The CA/Browser Forum's rules for the public web ask for public domains, policies and OCSP, which a private cluster
# has not. All other sources that zlint knows (RFC 5280, 5480, 8813, Mozilla, ...) must hold.
PUBLIC_WEB = "CABF_BR"


@pytest.mark.skipif(shutil.which("zlint") is None, reason="zlint (Debian trixie) is not installed")
@pytest.mark.parametrize("name", [*PROFILES, *AUTHORITIES])
def test_zlint_finds_nothing_wrong(cluster, tmp_path, name: str) -> None:
    pem = cluster.authorities[name].certificate.pem if name in AUTHORITIES else cluster.issue(name).pem
    path = tmp_path / "certificate.pem"
    path.write_bytes(pem)
    command = ["zlint", "-excludeSources", PUBLIC_WEB, str(path)]
    output = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    results = {lint: found["result"] for lint, found in json.loads(output).items()}
    assert {lint: result for lint, result in results.items() if result in ("warn", "error", "fatal")} == {}
    assert "pass" in results.values()
