"""`agent certs`: every certificate of a node, told without a network; and the part of it that stands in the status."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.certificates import list_certificates, take_inventory
from agent.certs_screen import print_certificates
from agent.cli import main
from pki.authority import Authority
from pki.certificate import combine
from pki.chain import bundle
from pki.keys import load_public_key, make_key, public_key_pem
from pki.request import CertificateRequest
from units.status import NodeStatus, encode_status

NOW = datetime.now(UTC).replace(microsecond=0)
YEAR = timedelta(days=365)
KUBELET = CertificateRequest(profile="kubelet-server", name="node-1", ip_addresses=("10.0.0.1",))


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("kubernetes", NOW - 2 * YEAR)


def place(folder: Path, authority: Authority, request: CertificateRequest, *, issued: datetime) -> Path:
    key = make_key()
    path = folder / "pki" / request.profile / "leaf.pem"
    path.parent.mkdir(parents=True)
    path.write_bytes(combine(authority.issue(request, load_public_key(public_key_pem(key)), issued), key))
    trusted = folder / "pki/ca/kubernetes.crt"
    trusted.parent.mkdir(exist_ok=True)
    trusted.write_bytes(authority.certificate.pem)
    return path


def test_a_certificate_is_told_whole(tmp_path: Path, authority: Authority) -> None:
    path = place(tmp_path, authority, KUBELET, issued=NOW)
    trusted, leaf = sorted(take_inventory(NOW, "i-1", str(tmp_path)).certificates, key=lambda one: not one.authority)
    assert (leaf.path, leaf.subject, leaf.issuer) == (str(path), "system:node:node-1", "kubernetes-ca")
    assert set(leaf.alternative_names) == {"DNS:node-1", "IP:10.0.0.1"}
    assert leaf.days_left == 365
    assert leaf.not_before < leaf.renews < leaf.not_after
    assert (trusted.subject, trusted.renews, trusted.days_left) == ("kubernetes-ca", "", 3650 - 730)


def test_every_authority_of_a_bundle_is_listed(tmp_path: Path, authority: Authority) -> None:
    newer = Authority.create("kubernetes", NOW)
    (tmp_path / "kubernetes.crt").write_bytes(bundle(newer.certificate.pem, authority.certificate.pem))
    found = take_inventory(NOW, "i-1", str(tmp_path)).certificates
    assert [one.days_left for one in found] == [3650, 3650 - 730]


def test_a_certificate_of_an_authority_that_is_being_replaced_is_due_now(tmp_path: Path, authority: Authority) -> None:
    place(tmp_path, authority, KUBELET, issued=NOW)
    newer = Authority.create("kubernetes", NOW).certificate.pem
    for trusted, due in (
        (bundle(authority.certificate.pem, newer), False),
        (bundle(newer, authority.certificate.pem), True),
    ):
        (tmp_path / "pki/ca/kubernetes.crt").write_bytes(trusted)
        (leaf,) = [one for one in take_inventory(NOW, "i-1", str(tmp_path)).certificates if not one.authority]
        assert (datetime.fromisoformat(leaf.renews) <= NOW) is due


def test_without_the_instance_id_no_renewal_is_made_up(tmp_path: Path, authority: Authority) -> None:
    place(tmp_path, authority, KUBELET, issued=NOW)
    assert {one.renews for one in take_inventory(NOW, "", str(tmp_path)).certificates} == {""}


def test_the_status_object_leaves_the_names_out_and_keeps_small(tmp_path: Path, authority: Authority) -> None:
    place(tmp_path, authority, KUBELET, issued=NOW)
    found = list_certificates(NOW, "i-1", str(tmp_path))
    assert len(found) == 2
    assert {one.alternative_names for one in found} == {()}
    assert len(encode_status(NodeStatus(instance_id="i-1", certificates=found))) < 1700


@pytest.mark.parametrize(
    ("age", "exit_code", "said"), [(10, 0, "(355 d)"), (300, 0, "expires in 65 d"), (366, 1, "has expired 1 d ago")]
)
def test_the_command_says_what_expires_and_its_exit_code_what_has(
    tmp_path: Path, authority: Authority, capsys: pytest.CaptureFixture[str], age: int, exit_code: int, said: str
) -> None:
    place(tmp_path, authority, KUBELET, issued=NOW - timedelta(days=age) + timedelta(hours=6))
    assert main(["certs", "--folder", str(tmp_path)]) == exit_code
    out = capsys.readouterr().out
    assert said in out
    assert ("-> agent sync" in out) is (age > 10)
    assert main(["certs", "--json", "--folder", str(tmp_path)]) == exit_code
    document = json.loads(capsys.readouterr().out)
    assert [one["subject"] for one in document["certificates"]] == ["system:node:node-1"]
    assert [one["subject"] for one in document["authorities"]] == ["kubernetes-ca"]
    assert bool(document["expiring"]) is (age > 10)


@pytest.mark.parametrize("content", [b"-----BEGIN CERTIFICATE-----\nMII", b"", b"\xff" * 100])
def test_an_unreadable_file_is_named_and_is_no_good_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "half.pem").write_bytes(content)
    (tmp_path / "gone.crt").symlink_to(tmp_path / "nowhere")
    assert main(["certs", "--folder", str(tmp_path)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "half.pem cannot be read" in out
    assert "gone.crt cannot be read" in out


def test_an_empty_machine_says_how_certificates_come_to_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["certs", "--folder", str(tmp_path)]) == 0
    assert "agent boot" in capsys.readouterr().out


@pytest.mark.root
def test_nobody_is_told_that_there_is_nothing_where_only_root_may_look(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            take_inventory(NOW, "i-1", str(closed))
    finally:
        os.seteuid(0)


# A leaf of 365 days is due from 60 % of its life (day 219) and red from 75 % (day 274).
@pytest.mark.parametrize(("age", "colour"), [(10, "32"), (230, "33"), (280, "31")])
def test_the_rest_of_life_has_a_colour(
    tmp_path: Path,
    authority: Authority,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    age: int,
    colour: str,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    place(tmp_path, authority, KUBELET, issued=NOW - timedelta(days=age))
    print_certificates(take_inventory(NOW, "i-1", str(tmp_path)), NOW)
    assert f"\x1b[{colour}m{(NOW + timedelta(days=365 - age)):%Y-%m-%d}" in capsys.readouterr().out


def test_help_loads_neither_x509_nor_rich_nor_models() -> None:
    code = (
        "import sys; from agent.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print(sorted({'cryptography', 'rich', 'pydantic', 'requests'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
    assert "certs" in out
