"""Builds by Packer that cannot be right: each says why, and none leaves anything in the account."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import packer, stock
from tests.lab.region.client import LabClient
from tests.lab.region.lab import Lab
from tests.lab.region.settings import ROOT_DEVICE, RegionSettings

pytestmark = [
    pytest.mark.root,
    pytest.mark.lab,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(bool(packer.why_not()), reason=packer.why_not() or "there is one"),
]


@dataclass(frozen=True, slots=True)
class Failure:
    """How one build is made to fail, and what it has to say."""

    name: str
    complaint: str
    variables: Callable[[Path, LabClient], dict[str, str]] = lambda _folder, _lab: {}
    spoil: Callable[[Path], None] = lambda _template: None


def wrong_digest(folder: Path, _: LabClient) -> dict[str, str]:
    (folder / "runc.amd64").write_bytes(b"not what was pinned")
    (folder / "SHA256SUMS").touch()
    return {"assets": str(folder), "runc": '{version="1.4.3",sha256={amd64="' + "0" * 64 + '"}}'}


def missing_binary(folder: Path, _: LabClient) -> dict[str, str]:
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w:gz") as archive:
        entry = tarfile.TarInfo("etcd-v3.6.5-linux-amd64/etcd")
        entry.mode = 0o755
        archive.addfile(entry)
    (folder / "etcd-v3.6.5-linux-amd64.tar.gz").write_bytes(body.getvalue())
    (folder / "SHA256SUMS").touch()
    sha256 = hashlib.sha256(body.getvalue()).hexdigest()
    return {"assets": str(folder), "etcd": '{version="3.6.5",sha256={amd64="' + sha256 + '"}}'}


def no_network(_: Path, lab: LabClient) -> dict[str, str]:
    """The image as it is published has none of the packages, and the lab no mirror."""
    registered = lab.aws("ec2").register_image(
        Name="debian-13-amd64", Architecture="x86_64", RootDeviceName=ROOT_DEVICE, VirtualizationType="hvm"
    )["ImageId"]
    disk = lab.run.image(registered)
    disk.parent.mkdir(exist_ok=True)
    disk.symlink_to(stock.stock().path)
    return {"source_ami": str(registered)}


def full_disk(template: Path) -> None:
    """With 200 MiB left when the steps begin."""
    build = template / "build.pkr.hcl"
    fill = "sudo fallocate -l $(($(df --output=avail -BM / | tail -1 | tr -d 'M ') - 200))M /var/full"
    marked = '"mkdir -p ${local.folder}/wheelhouse ${local.folder}/to-bake",'
    assert marked in build.read_text()
    build.write_text(build.read_text().replace(marked, f'{marked}\n      "{fill}",'))


FAILURES = (
    Failure(
        "wrong-digest", f"runc.amd64 has sha256 {hashlib.sha256(b'not what was pinned').hexdigest()}", wrong_digest
    ),
    Failure("missing-binary", "etcd-v3.6.5-linux-amd64.tar.gz lacks etcd-v3.6.5-linux-amd64/etcdctl", missing_binary),
    Failure("no-network", "E: Failed to fetch", no_network),
    Failure("full-disk", "MiB free; the image needs 1024", spoil=full_disk),
)


@dataclass(frozen=True, slots=True)
class Failed:
    """What Packer said of each, and what the region holds after all of them."""

    outcomes: dict[str, packer.Outcome]
    left: dict[str, list[str]]


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Failed]:
    """All at once: a build's time is its machine's boot."""
    folder = tmp_path_factory.mktemp("failures")
    wheels = packer.wheels(folder / "wheelhouse")
    settings = RegionSettings(image_id=stock.stock(prepared=True).id, balancer=False)
    with Lab(folder / "lab", settings) as lab:

        def build(failure: Failure) -> packer.Outcome:
            template = packer.template(folder / failure.name / "packer")
            failure.spoil(template)
            given = folder / failure.name / "given"
            given.mkdir()
            variables = {"wheelhouse": str(wheels), **failure.variables(given, lab)}
            return packer.packer_build(lab, template, variables)

        with ThreadPoolExecutor(len(FAILURES)) as pool:
            outcomes = list(pool.map(build, FAILURES))
        # Root volumes go with their machine, seconds after it.
        lab.wait_until("no volume is left", lambda: not lab.status()["volumes"])
        yield Failed({failure.name: said for failure, said in zip(FAILURES, outcomes, strict=True)}, left_in(lab))


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
def test_a_build_that_cannot_be_right_fails_and_says_why(failed: Failed, failure: Failure) -> None:
    outcome = failed.outcomes[failure.name]
    assert outcome.returncode != 0
    assert outcome.ami == ""
    assert failure.complaint in outcome.said


def test_failed_builds_leave_nothing_behind(failed: Failed) -> None:
    assert failed.left == {"images": [], "disks": [], "instances": [], "volumes": [], "keys": [], "groups": []}


def left_in(lab: LabClient) -> dict[str, list[str]]:
    """What is there beside what the region began with, and the image that a build was to start from."""
    ec2 = lab.aws("ec2")
    images = ec2.describe_images(Owners=["self"])["Images"]
    groups = ec2.describe_security_groups()["SecurityGroups"]
    return {
        "images": [row["Name"] for row in images if row["Name"].startswith("bootwright-node")],
        "disks": [path.name for path in (lab.run.path / "images").glob("*") if not path.is_symlink()],
        "instances": [row["id"] for row in lab.status()["instances"] if row["state"] != "terminated"],
        "volumes": [row["id"] for row in lab.status()["volumes"]],
        "keys": [row["KeyName"] for row in ec2.describe_key_pairs()["KeyPairs"]],
        "groups": [row["GroupName"] for row in groups if row["GroupName"].startswith("packer")],
    }
