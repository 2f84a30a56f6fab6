"""`packer build` in the lab: its AMI boots, keeps nothing of where it was made, and is looked at by validate.sh."""

import base64
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent.linux.archives import docker_archive
from tests.lab import image, packer
from tests.lab.cache import CHECKOUT
from tests.lab.region.client import RemoteMachine
from tests.lab.region.lab import Lab
from tests.lab.region.settings import RegionSettings

pytestmark = [
    pytest.mark.root,
    pytest.mark.lab,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(packer.why_not()), reason=packer.why_not() or "there is one"),
]

BOOT_SECONDS = 300.0
ASSET = b"#!/bin/sh\necho an asset that the build was given\n"
SHA256 = hashlib.sha256(ASSET).hexdigest()
PAUSE = "registry.k8s.io/pause:3.10.2"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> image.Image:
    folder = tmp_path_factory.mktemp("assets")
    asset = folder / "tool"
    asset.write_bytes(ASSET)
    archive = docker_archive(folder / "pause.tar", PAUSE)
    return packer.build([(asset, SHA256), (archive, hashlib.sha256(archive.read_bytes()).hexdigest())])


@pytest.fixture(scope="module")
def disk(built: image.Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The AMI's file system, looked at from outside."""
    mounted = tmp_path_factory.mktemp("disk")
    # noload: an image that other machines boot from must not change, not even by its journal.
    subprocess.run(["mount", "-o", "ro,loop,noload", str(built.path), str(mounted)], check=True)
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


def test_nothing_of_the_machine_it_was_made_on_is_in_the_image(disk: Path) -> None:
    assert (disk / "etc/machine-id").read_bytes() == b""
    left = [
        *disk.glob("etc/ssh/ssh_host_*"),
        *disk.glob("home/*/.ssh/authorized_keys"),
        *disk.glob("root/.ssh/authorized_keys"),
        *disk.glob("var/lib/cloud/instance*"),
        *disk.glob("var/log/journal/*/*"),
        *disk.glob("var/lib/systemd/random-seed"),
        *disk.glob("var/tmp/bootwright*"),
        *disk.glob("etc/bootwright/agent.json"),
        *disk.glob("usr/sbin/policy-rc.d"),
    ]
    assert [str(path) for path in left] == []


def test_nobody_has_a_password(disk: Path) -> None:
    fields = [line.split(":")[1] for line in (disk / "etc/shadow").read_text().splitlines()]
    assert {field.lstrip("!*") for field in fields} == {""}
    assert "" not in fields


def test_the_asset_is_in_the_store_under_its_digest(disk: Path) -> None:
    assert (disk / f"opt/bootwright/assets/sha256/{SHA256[:2]}/{SHA256}").read_bytes() == ASSET


def test_the_bill_of_materials_names_packages_libraries_and_assets(disk: Path) -> None:
    bill = json.loads((disk / "opt/bootwright/sbom.json").read_text())
    names = {component["purl"].split("@")[0] for component in bill["components"]}
    assert {"pkg:deb/debian/containerd", "pkg:pypi/bootwright", "pkg:pypi/cryptography"} <= names
    assert any(hashed["content"] == SHA256 for one in bill["components"] for hashed in one.get("hashes", ()))
    assert "pkg:oci/pause" in names
    record = json.loads((disk / "opt/bootwright/image.json").read_text())
    assert record["base"] == "debian-13"
    assert [one["reference"] for one in record["images"]] == [PAUSE]


@pytest.fixture(scope="module")
def booted(built: image.Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteMachine]:
    settings = RegionSettings(image_id=built.id, balancer=False)
    with Lab(tmp_path_factory.mktemp("booted"), settings) as lab:
        machine = lab.machine(lab.run_instance("nodes"))
        lab.wait_until("the machine is reachable", machine.is_reachable, BOOT_SECONDS)
        yield machine


def test_a_machine_boots_from_it_with_the_agent_at_work(booted: RemoteMachine) -> None:
    said = booted.exec("systemctl", "show", "--property=LoadState,UnitFileState,ActiveState", "bootwright-boot.service")
    assert {"LoadState=loaded", "UnitFileState=enabled"} <= set(said.stdout.split())
    # Nothing was told to it: the agent waits for an enrolment, and is what waits.
    assert "ActiveState=inactive" not in said.stdout
    assert booted.exec("agent", "--help").returncode == 0


SABOTAGE = {
    "rm /etc/systemd/system/bootwright-sync.timer": "bootwright-sync.timer is not what rootfs/ has",
    "find /opt/bootwright/venv -name 'anchor.*.pyc' -delete": "are not byte-compiled",
    "openssl genpkey -algorithm ed25519 -out /etc/stolen.key": "private keys: /etc/stolen.key",
    "echo root:secret | chpasswd": "a user has a password",
    f"echo x >> /opt/bootwright/assets/sha256/{SHA256[:2]}/{SHA256}": "does not have the sha256 that is its name",
    "rm /opt/bootwright/sbom.json": "sbom.json does not say what is in the image",
    'sed -i \'s/"runc": ".*"/"runc": "9.9.9"/\' /opt/bootwright/image.json': "runc is recorded as 9.9.9",
    "rm /etc/chrony/chrony.conf": "chrony does not ask Amazon's clock",
    "rm -r /var/lib/containerd/io.containerd.metadata.v1.bolt": f"containerd does not hold {PAUSE} as",
    "systemctl enable -q containerd.service": "containerd.service is enabled",
    "rm /etc/ssh/sshd_config.d/10-bootwright.conf": "sshd takes passwords",
}


def test_validate_names_each_thing_that_is_amiss(booted: RemoteMachine) -> None:
    """This machine has been booted, so its keys and its identity are named too; what counts is what is added."""
    send_packer_folder(booted)
    before = booted.exec("bash", "/var/tmp/check/validate.sh", timeout=300)
    assert before.returncode == 1
    assert "/etc/machine-id is not empty" in before.stderr
    assert [text for text in SABOTAGE.values() if text in before.stderr] == []
    for command in SABOTAGE:
        done = booted.exec("sh", "-c", command)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    after = booted.exec("bash", "/var/tmp/check/validate.sh", timeout=300)
    assert after.returncode == 1
    assert [text for text in SABOTAGE.values() if text not in after.stderr] == []


def send_packer_folder(machine: RemoteMachine) -> None:
    """As the build uploads it; a command line takes 128 KiB, base64 of the archive a tenth of that."""
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as archive:
        archive.add(CHECKOUT / "packer", arcname=".", filter=_plain)
    text = base64.b64encode(body.getvalue()).decode()
    script = f"mkdir -p /var/tmp/check && base64 -d <<< {text} | tar xz -C /var/tmp/check"
    done = machine.exec("bash", "-c", script)
    assert done.returncode == 0, done.stderr


def _plain(entry: Any) -> Any:
    return None if "__pycache__" in entry.name else entry
