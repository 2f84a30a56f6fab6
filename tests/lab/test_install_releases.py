"""install.sh with pinned releases in upstream's layout: what it installs runs, is root's alone, and is written down."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab import image
from tests.lab.bases import DEBIAN_13
from tests.lab.chroot import INSTALLED, Chroot, complaints, prepared
from tests.lab.releases import BUILDER, VERSIONS

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(900)]

# As on a base that has none of them: the network has nothing to add, so install.sh must not miss anything.
WITHOUT_PACKAGES = """
dpkg --purge --force-depends containerd runc containernetworking-plugins etcd-server etcd-client
userdel etcd; rm -rf /opt/cni
"""


@dataclass(frozen=True, slots=True)
class Pinned:
    chroot: Chroot

    def says(self, command: str) -> str:
        done = self.chroot.run(command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def document(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.says(f"cat /opt/bootwright/{name}")))

    def digest(self, name: str) -> str:
        return self.chroot.variables[name].split(":")[1]


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Pinned:
    made = prepared(DEBIAN_13, tmp_path_factory.mktemp("pinned") / "image", VERSIONS)
    assert made.run(WITHOUT_PACKAGES).returncode == 0
    done = made.install("check", "packages", *INSTALLED)
    assert done.returncode == 0, done.stderr
    return Pinned(made)


def test_an_image_of_pinned_releases_is_as_it_should_be(pinned: Pinned) -> None:
    done = pinned.chroot.validate()
    assert (complaints(done), done.returncode) == ([], 0)


@pytest.mark.parametrize(
    ("command", "version"),
    [
        ("containerd --version", VERSIONS["CONTAINERD"]),
        ("containerd-shim-runc-v2 -v", VERSIONS["CONTAINERD"]),
        ("ctr --version", VERSIONS["CONTAINERD"]),
        ("runc --version", VERSIONS["RUNC"]),
        ("etcd --version", VERSIONS["ETCD"]),
        ("etcdctl version", VERSIONS["ETCD"]),
        ("etcdutl version", VERSIONS["ETCD"]),
        ('echo \'{"cniVersion":"1.0.0"}\' | CNI_COMMAND=VERSION /opt/cni/bin/bridge', "supportedVersions"),
    ],
)
def test_what_is_installed_runs(pinned: Pinned, command: str, version: str) -> None:
    assert version in pinned.says(command)
    assert "no packages found" in pinned.chroot.run("dpkg-query --show containerd runc etcd-server etcd-client").stderr


def test_folders_and_programs_are_roots_alone_whatever_the_archive_says(pinned: Pinned) -> None:
    assert pinned.says("stat --format '%U:%G %a' /usr/bin /usr/sbin /opt/cni/bin").split("\n") == ["root:root 755"] * 3
    programs = "/usr/bin/{containerd,containerd-shim-runc-v2,ctr,etcd,etcdctl,etcdutl} /usr/sbin/runc /opt/cni/bin/*"
    assert set(pinned.says(f"stat --format '%U:%G %a %F' {programs}").split("\n")) == {"root:root 755 regular file"}
    assert pinned.says(f"find / -xdev -uid {BUILDER}") == ""
    assert "LICENSE" not in pinned.says("ls /opt/cni/bin /usr/bin")


def test_the_unit_is_the_pinned_one_and_starts_nothing_by_itself(pinned: Pinned) -> None:
    unit = (image.PACKER / "pinned/containerd.service").read_text().strip()
    assert pinned.says("cat /etc/systemd/system/containerd.service") == unit
    assert pinned.says("systemctl is-enabled containerd.service") == "static"
    checked = pinned.chroot.run("systemd-analyze verify --man=no --recursive-errors=no containerd.service")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert pinned.says("id --user --name etcd") == "etcd"


def test_the_inventory_names_releases_with_their_digests_and_no_package_in_their_place(pinned: Pinned) -> None:
    found = pinned.document("image.json")
    wanted = {name.lower(): version for name, version in VERSIONS.items() if name != "KUBELET"}
    assert {name: found[name] for name in wanted} == wanted
    purls = {one["purl"] for one in pinned.document("sbom.json")["components"]}
    for name, version in VERSIONS.items():
        assert f"pkg:generic/{name.lower()}@{version}?checksum=sha256:{pinned.digest(name)}" in purls
    assert not [purl for purl in purls if purl.startswith(("pkg:deb/debian/containerd@", "pkg:deb/debian/etcd"))]


def test_the_kubelet_is_in_the_store_under_its_digest(pinned: Pinned) -> None:
    sha256 = pinned.digest("KUBELET")
    stored = f"/opt/bootwright/assets/sha256/{sha256[:2]}/{sha256}"
    assert pinned.says(f"sha256sum < {stored}").split()[0] == sha256
    assert pinned.says(f"stat --format '%U:%G %a' {stored}") == "root:root 755"


BROKEN = {
    "sed -i s/TasksMax=.*/TasksMax=100/ /etc/systemd/system/containerd.service": (
        "units",
        "containerd.service is not the pinned release's",
    ),
    "chmod 4755 /usr/sbin/runc": ("versions", "/usr/sbin/runc is not root's alone: root, mode 4755"),
    "chown 1000 /opt/cni/bin/bridge": ("versions", "/opt/cni/bin/bridge is not root's alone: UNKNOWN, mode 755"),
    "ln -sf /opt/cni/bin/bridge /opt/cni/bin/portmap": (
        "versions",
        "the CNI plugin portmap is the distribution's, not the pinned one",
    ),
    "find /opt/bootwright/assets -type f -delete; bash /run/packer/install.sh inventory": (
        "assets",
        "the pinned kubelet is not in the store",
    ),
    "rm /usr/bin/etcdutl": ("versions", "etcdutl is missing"),
}


@pytest.mark.parametrize("command", BROKEN, ids=lambda command: command.partition(";")[0])
def test_validate_names_what_is_not_of_the_pinned_release(pinned: Pinned, command: str, tmp_path: Path) -> None:
    spoiled = pinned.chroot.copy(tmp_path / "spoiled")
    assert spoiled.run(command).returncode == 0
    check, complaint = BROKEN[command]
    assert complaints(spoiled.validate(check)) == [complaint]


def test_another_version_than_the_pinned_one_is_named(pinned: Pinned) -> None:
    other = pinned.chroot.told(ETCD=f"3.6.5:{'0' * 64}")
    assert complaints(other.validate("versions")) == ["etcd 3.6.5 is pinned, but 3.5.16 is recorded"]


NO_MIRROR = "ln -s /bin/false /usr/local/sbin/apt-get"


def test_an_image_built_again_without_pins_needs_the_packages_and_keeps_no_unit_of_the_release(
    pinned: Pinned, tmp_path: Path
) -> None:
    again = pinned.chroot.copy(tmp_path / "again").told(**dict.fromkeys(VERSIONS, ""))
    assert again.run(NO_MIRROR).returncode == 0
    done = again.install("packages")
    assert done.returncode != 0
    assert re.search(r"5 of \d+ packages are missing", done.stderr)
    assert again.install("binaries").returncode == 0
    found = complaints(again.validate("units"))
    assert found == ["containerd.service is missing"], "the distribution's, which comes with its package"
