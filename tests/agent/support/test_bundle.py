"""A support bundle holds what helps and no secret: known ones are planted everywhere it reads, and looked for."""

import io
import json
import re
import stat
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.doctor.patient import Patient
from agent.support.bundle import write_bundle
from agent.support.scrub import public_part, scrub
from agent.support.sources import _FILES, _FOLDERS, Source, sources
from pki.authority import Authority
from pki.certificate import combine
from pki.keys import load_private_key, make_key
from pki.request import CertificateRequest
from tests.agent.doctor.tools_double import ToolsDouble
from tests.agent.doctor.ward import ProbesDouble, free_port
from units.errors import Fatal

NOW = datetime(2026, 6, 1, tzinfo=UTC)
KEY = make_key().pem.decode()
SECRETS = {
    "aws secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "aws key id": "ASIAIOSFODNN7EXAMPLE",
    "session token": "IQoJb3JpZ2luX2VjEJr" + "AbCd1234/+" * 30 + "==",
    "bearer": "s3cr3t-b34r3r-0123456789abcdef",
    "jwt": "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06bm9kZSJ9.c2lnbmF0dXJlLW9mLXRoZS1qd3Q",
    "bootstrap": "abcdef.0123456789abcdef",
    "password": "hunter2-correct-horse",
    "kubeconfig key": "LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS0tLS0t",
    "signature": "fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024",
    "imds token": "AQAEAOq7Zk2Yx1a-imds-token==",
}
PLANTED = f"""\
aws_secret_access_key = {SECRETS["aws secret"]}
found key {SECRETS["aws secret"]} lying about
{{"AccessKeyId": "{SECRETS["aws key id"]}", "SecretAccessKey": "{SECRETS["aws secret"]}",
 "Token": "{SECRETS["session token"]}"}}
a token without a name: {SECRETS["session token"]}
Authorization: Bearer {SECRETS["bearer"]}
curl -H 'authorization: bearer {SECRETS["bearer"]}'
jwt {SECRETS["jwt"]}
--token={SECRETS["bootstrap"]} joins; {SECRETS["bootstrap"]} too
proxy http://user:{SECRETS["password"]}@proxy:3128/ and password: "{SECRETS["password"]}"
    client-key-data: {SECRETS["kubeconfig key"]}
GET /?X-Amz-Signature={SECRETS["signature"]}&X-Amz-Security-Token={SECRETS["session token"]}
X-aws-ec2-metadata-token: {SECRETS["imds token"]}
escaped {json.dumps(KEY)}
{KEY}
"""


def kept_out(text: str) -> list[str]:
    """The secrets that are in a text, whole or in telling parts."""
    found = [name for name, secret in SECRETS.items() if secret in text or secret[4:28] in text]
    lines = [line for line in KEY.splitlines() if "-----" not in line]
    return found + [f"key line {n}" for n, line in enumerate(lines) if line in text]


def test_every_known_secret_is_seen_by_this_test_at_all() -> None:
    assert set(SECRETS) <= set(kept_out(PLANTED))
    assert "key line 0" in kept_out(PLANTED)


def test_the_scrubber_takes_every_kind() -> None:
    assert kept_out(scrub(PLANTED)) == []


@pytest.mark.parametrize("cut", range(0, len(KEY), 37))
def test_a_key_that_a_limit_cuts_in_two_is_no_longer_there(cut: int) -> None:
    """Neither the half with its beginning nor the half with its end."""
    body = KEY.splitlines()[1:-1]
    for half in (f"log\n{KEY[:cut]}", f"{KEY[cut:]}\nlog\n"):
        if "PRIVATE KEY-----" in half:
            assert not any(line in scrub(half) for line in body), half


def test_what_is_no_secret_stays_readable() -> None:
    text = (
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 of /etc/kubernetes/pki/ca/kubernetes.crt\n"
        "commit da39a3ee5e6b4b0d3255bfef95601890afd80709 i-0123456789abcdef0 vol-0aaaaaaaaaaaaaaa0\n"
        "cannot start kubelet.service: Job failed (ActiveState=failed, Result=exit-code)\n"
        "/usr/local/bin/kubelet --config=/var/lib/kubelet/config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf\n"
    )
    assert scrub(text) == text


def certificate() -> tuple[bytes, bytes]:
    """A certificate and key in one file, and the public part of it."""
    authority = Authority.create("kubernetes", NOW)
    key = make_key()
    request = CertificateRequest(profile="kube-scheduler")
    leaf = authority.issue(request, load_private_key(key).public_key(), NOW)
    return combine(leaf, key), leaf


def test_of_a_pem_only_the_certificates_go_in() -> None:
    pem, leaf = certificate()
    assert public_part(b"# the password is hunter2\n" + pem) == leaf
    assert public_part(KEY.encode()) == b""


def infected(root: Path) -> Patient:
    """A machine on which every single source that a bundle reads holds every secret."""
    folders = [f"{folder}/planted" for folder in _FOLDERS]
    never = [
        "/run/bootwright/secrets/authority-kubernetes.key",
        "/etc/bootwright/secrets.key",
        "/var/lib/cloud/user-data",
    ]
    for path in (*_FILES, *folders, *never):
        real = root / path.lstrip("/")
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_text(PLANTED)
    (root / "etc/kubernetes/manifests/link.yaml").symlink_to(root / "run/bootwright/secrets/authority-kubernetes.key")
    pki = root / "etc/kubernetes/pki/kubelet"
    pki.mkdir(parents=True)
    pem, _leaf = certificate()
    (pki / "client.pem").write_bytes(pem + KEY.encode())
    (pki / "secret-notes.txt").write_text(PLANTED)
    return Patient(
        root=root,
        imds_url=f"http://127.0.0.1:{free_port()}",
        run=Infected(),
        probes=ProbesDouble(),
        synchronised=lambda: True,
        listeners=lambda: (),
    )


class Infected(ToolsDouble):
    """Whatever is not a unit's state prints every secret, on both of its outputs."""

    def _answer(self, arguments: list[str]) -> tuple[int, str, str]:
        if arguments[:2] == ["systemctl", "show"]:
            return super()._answer(arguments)
        return 1, PLANTED, PLANTED


def unpacked(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        return {
            member.name.partition("/")[2]: io.TextIOWrapper(archive.extractfile(member), "utf-8").read()  # type: ignore[arg-type]
            for member in archive.getmembers()
        }


def test_no_planted_secret_is_in_the_whole_unpacked_bundle(tmp_path: Path) -> None:
    path = tmp_path / "out.tar.gz"
    patient = infected(tmp_path / "root")
    count = write_bundle(path, sources(patient), now=NOW)
    files = unpacked(path)
    assert len(files) == count > 40
    assert {name: found for name, text in files.items() if (found := kept_out(text))} == {}
    assert not any(re.search("PRIVATE KEY", text) for text in files.values())
    assert not any("secrets" in name or "user-data" in name or "notes" in name or "link" in name for name in files)


def test_the_bundle_holds_what_helps(tmp_path: Path) -> None:
    path = tmp_path / "out.tar.gz"
    write_bundle(path, sources(infected(tmp_path / "root")), now=NOW)
    files = unpacked(path)
    wanted = ("doctor.json", "certs.json", "plan.txt", "diff.txt", "commands/dmesg.txt", "commands/units.txt")
    journals = tuple(f"journal/{name}.service.txt" for name in ("kubelet", "containerd", "bootwright-boot"))
    configs = ("run/bootwright/status.json", "etc/hosts", "var/lib/kubelet/config.yaml", "etc/containerd/config.toml")
    for name in (*wanted, *journals, *(f"files/{config}" for config in configs), "files/proc/self/mountinfo"):
        assert name in files
    assert json.loads(files["doctor.json"])["cause"] == "imds"
    assert "BEGIN CERTIFICATE" in files["files/etc/kubernetes/pki/kubelet/client.pem"]


def test_only_root_may_read_it_and_a_failed_one_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.tar.gz"
    write_bundle(path, (Source("a.txt", lambda: "a"),), now=NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(Fatal) as caught:
        write_bundle(tmp_path / "no/such/folder/out.tar.gz", (), now=NOW)
    assert caught.value.code == "bundle-not-written"
    assert [one.name for one in tmp_path.iterdir()] == ["out.tar.gz"]


@pytest.mark.parametrize("error", [Fatal("tool-missing", "cannot run crictl"), OSError(5, "Input/output error")])
def test_a_source_that_cannot_be_had_says_so_in_its_place(tmp_path: Path, error: Exception) -> None:
    def broken() -> str:
        raise error

    gather: Callable[[], str] = broken
    path = tmp_path / "out.tar.gz"
    write_bundle(path, (Source("a.txt", gather), Source("b.txt", lambda: "b")), now=NOW)
    files = unpacked(path)
    assert "not gathered" in files["a.txt"]
    assert files["b.txt"] == "b"
