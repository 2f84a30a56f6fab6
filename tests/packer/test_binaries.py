"""packer/binaries.sh in a folder instead of a machine: nothing gets in whose sha256 is not the one that was named."""

import base64
import hashlib
import io
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab.cache import CHECKOUT

SCRIPT = """
set -euo pipefail
here={packer} prefix={prefix} pins={prefix}/pins work={prefix}/work
say() {{ printf 'install.sh: %s\\n' "$*" >&2; }}
die() {{ say "$*"; exit 1; }}
architecture() {{ echo amd64; }}
. "$here/binaries.sh"
{command}
"""


@dataclass(frozen=True, slots=True)
class Image:
    """`given` is what the build brings along; `prefix` stands for /opt/bootwright."""

    prefix: Path
    given: Path

    def run(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        script = SCRIPT.format(packer=CHECKOUT / "packer", prefix=self.prefix, command=command)
        # No curl: whatever is asked of the network is an error here.
        environment = {"PATH": f"{self.prefix}/bin:/usr/bin:/bin", "ASSETS": str(self.given), **variables}
        return subprocess.run(
            ["bash", "-c", script], check=False, capture_output=True, text=True, timeout=60, env=environment
        )

    def bring(self, name: str, content: bytes) -> str:
        (self.given / name).write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def sums(self, text: str) -> None:
        (self.given / "SHA256SUMS").write_text(text)

    def stored(self) -> set[str]:
        return {path.name for path in (self.prefix / "assets").rglob("*") if path.is_file()}


@pytest.fixture
def image(tmp_path: Path) -> Image:
    made = Image(tmp_path / "opt", tmp_path / "given")
    for folder in (made.prefix / "work", made.prefix / "bin", made.given):
        folder.mkdir(parents=True)
    offline = made.prefix / "bin/curl"
    offline.write_text("#!/bin/sh\necho 'curl: (6) Could not resolve host' >&2\nexit 6\n")
    offline.chmod(0o755)
    return made


def test_every_file_that_is_named_is_stored_under_its_digest(image: Image) -> None:
    first, second = image.bring("kubelet", b"one"), image.bring("pause.tar", b"two")
    image.sums(f"{first}  kubelet\n{second} *pause.tar\n")
    for _ in range(2):
        done = image.run("install_assets")
        assert done.returncode == 0, done.stderr
        assert image.stored() == {first, second}
    assert (image.prefix / f"assets/sha256/{first[:2]}/{first}").read_bytes() == b"one"


def test_a_wrong_digest_ends_the_build_and_names_the_file(image: Image) -> None:
    image.bring("kubelet", b"one")
    image.sums(f"{'0' * 64}  kubelet\n")
    done = image.run("install_assets")
    assert done.returncode == 1
    assert f"kubelet has another sha256 than {'0' * 64}" in done.stderr
    assert image.stored() == set()


def test_a_file_that_is_not_there_ends_the_build(image: Image) -> None:
    image.sums(f"{'1' * 64}  kubelet\n")
    done = image.run("install_assets")
    assert done.returncode == 1
    assert "lacks kubelet, which its SHA256SUMS names" in done.stderr


@pytest.mark.parametrize("line", ["kubelet", f"{'1' * 63}  kubelet", f"{'1' * 64}  ../kubelet", f"{'1' * 64}"])
def test_a_line_that_names_no_file_with_its_digest_is_refused(image: Image, line: str) -> None:
    image.bring("kubelet", b"one")
    image.sums(f"{line}\n")
    done = image.run("install_assets")
    assert done.returncode == 1
    assert "is not a sha256 and the name of a file beside it" in done.stderr


def test_a_folder_without_sums_is_refused(image: Image) -> None:
    image.bring("kubelet", b"one")
    done = image.run("install_assets")
    assert (done.returncode, image.stored()) == (1, set())
    assert "has no SHA256SUMS" in done.stderr


def test_a_pinned_release_is_taken_from_what_was_brought_along(image: Image) -> None:
    sha256 = image.bring("kubelet", b"the kubelet")
    done = image.run("install_binaries", KUBELET=f"1.36.2:{sha256}", DOWNLOADS=str(image.given))
    assert done.returncode == 0, done.stderr
    assert image.stored() == {sha256}
    assert (image.prefix / "pins/kubelet").read_text() == f"1.36.2 {sha256}\n"


def test_a_release_with_another_digest_than_the_pinned_one_is_refused(image: Image) -> None:
    sha256 = image.bring("kubelet", b"another kubelet")
    done = image.run("install_binaries", KUBELET=f"1.36.2:{'2' * 64}", DOWNLOADS=str(image.given))
    assert (done.returncode, image.stored()) == (1, set())
    assert f"kubelet has sha256 {sha256}, but {'2' * 64} is pinned" in done.stderr
    assert not (image.prefix / "pins/kubelet").exists()


def test_a_release_that_can_be_had_nowhere_ends_the_build(image: Image) -> None:
    done = image.run("install_binaries", KUBELET=f"1.36.2:{'2' * 64}", DOWNLOADS=str(image.given))
    assert (done.returncode, image.stored()) == (1, set())
    assert "cannot be fetched from https://dl.k8s.io/release/v1.36.2/bin/linux/amd64/kubelet" in done.stderr


def test_a_version_without_a_digest_is_refused(image: Image) -> None:
    done = image.run("install_binaries", KUBELET="1.36.2:", DOWNLOADS=str(image.given))
    assert done.returncode == 1
    assert "is no sha256" in done.stderr


def test_an_archive_that_lacks_a_program_is_refused(image: Image) -> None:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("etcd-v3.6.5-linux-amd64/README.md"))
    sha256 = image.bring("etcd-v3.6.5-linux-amd64.tar.gz", body.getvalue())
    done = image.run("install_binaries", ETCD=f"3.6.5:{sha256}", DOWNLOADS=str(image.given))
    assert done.returncode == 1
    assert "etcd-v3.6.5-linux-amd64.tar.gz lacks etcd-v3.6.5-linux-amd64/etcd" in done.stderr


def test_a_pin_that_was_taken_back_is_forgotten(image: Image) -> None:
    sha256 = image.bring("kubelet", b"the kubelet")
    image.run("install_binaries", KUBELET=f"1.36.2:{sha256}", DOWNLOADS=str(image.given))
    assert image.run("install_binaries", KUBELET=":").returncode == 0
    assert not (image.prefix / "pins/kubelet").exists()


# /usr/share is the machine's own: here a file system in memory, which this one process sees.
TRUST = "mount -t tmpfs none /usr/share; {before}trust_root; cat /usr/share/bootwright/trust/root.json"


def trusting(image: Image, document: str, before: str = "") -> subprocess.CompletedProcess[str]:
    command = TRUST.format(before=before)
    script = SCRIPT.format(packer=CHECKOUT / "packer", prefix=image.prefix, command=command)
    environment = {"PATH": "/usr/bin:/bin", "ROOT_JSON": base64.b64encode(document.encode()).decode()}
    isolated = ["unshare", "--mount", "--propagation", "private", "bash", "-c", script]
    return subprocess.run(isolated, check=False, capture_output=True, text=True, timeout=60, env=environment)


@pytest.mark.root
def test_a_root_of_trust_is_baked_in_as_it_was_given(image: Image) -> None:
    document = '{"signatures": [], "signed": {"_type": "root", "version": 3}}'
    done = trusting(image, document)
    assert (done.returncode, done.stdout) == (0, document), done.stderr


@pytest.mark.root
@pytest.mark.parametrize("document", ['{"signed": {"_type": "targets"}}', "{", "no json"])
def test_what_is_no_root_of_trust_ends_the_build(image: Image, document: str) -> None:
    done = trusting(image, document)
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not the base64 of a TUF root.json" in done.stderr


@pytest.mark.root
def test_an_image_built_again_without_a_root_of_trust_has_none(image: Image) -> None:
    stale = "mkdir -p /usr/share/bootwright/trust; echo stale > /usr/share/bootwright/trust/root.json; "
    done = trusting(image, "", stale)
    assert done.stdout == ""
    assert "No such file" in done.stderr


def test_what_a_node_runs_first_is_read_ahead_the_kubelet_too_that_came_later(image: Image) -> None:
    names = ("systemctl", "containerd", "containerd-shim-runc-v2", "ctr", "runc", "etcd")
    for name in names:
        (image.prefix / "bin" / name).write_text("#!/bin/sh\n")
        (image.prefix / "bin" / name).chmod(0o755)
    agent, gone = image.given / "agent.modules", image.given / "gone"
    agent.touch()
    (image.prefix / "readahead.list").write_text(f"{agent}\n{gone}\n")
    pinned, baked, other = (image.bring(name, name.encode()) for name in ("kubelet", "00-kubelet", "pause.tar"))
    image.sums(f"{baked}  00-kubelet\n{other} *pause.tar\n")
    steps = "install_binaries; . $here/python.sh; install_assets"
    times = set()
    for _ in range(2):
        done = image.run(steps, KUBELET=f"1.36.2:{pinned}", DOWNLOADS=str(image.given))
        assert done.returncode == 0, done.stderr
        listed = (image.prefix / "readahead.list").read_text().splitlines()
        assert listed[0] == str(agent)
        stored = [str(image.prefix / "assets/sha256" / name[:2] / name) for name in (pinned, baked)]
        programs = [str(image.prefix / "bin" / name) for name in names]
        assert listed[1:] == [*programs[:-1], *stored, programs[-1]]
        times.add((image.prefix / "readahead.list").stat().st_mtime_ns)
    assert len(times) == 1, "done again it changes nothing"
