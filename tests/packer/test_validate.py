"""validate.sh on a throw-away copy of this machine: every complaint comes of what was spoiled, and goes with it."""

from pathlib import Path

import pytest

from tests.lab.image import PACKER
from tests.packer.throwaway import Throwaway

pytestmark = pytest.mark.root


@pytest.fixture
def machine(tmp_path: Path) -> Throwaway:
    return Throwaway(tmp_path)


@pytest.mark.parametrize(
    ("etcd", "containerd", "complaints"),
    [
        (
            "3.4.23-4+b4",
            "1.6.20~ds1",
            ["etcd 3.4.23-4+b4 is too old for a node: 3.5 or newer", "containerd 1.6.20~ds1"],
        ),
        ("3.10.0", "1.10.1", []),
        ("3.5.0", "1.7.0", []),
    ],
)
def test_versions_that_never_start_are_named(
    machine: Throwaway, etcd: str, containerd: str, complaints: list[str]
) -> None:
    record = f'{{"etcd": "{etcd}", "containerd": "{containerd}"}}'
    machine.says(f"mkdir -p /opt/bootwright; echo '{record}' > /opt/bootwright/image.json")
    found = [line for line in machine.validate("versions") if "too old" in line]
    assert len(found) == len(complaints)
    assert all(any(line.startswith(words) for line in found) for words in complaints)


def own_files(machine: Throwaway) -> None:
    machine.says("cp -r --no-preserve=ownership /run/packer/rootfs/etc /")


@pytest.mark.parametrize(
    ("name", "goes_by"), [("90_dpkg.cfg", False), ("99-a.cfg", False), ("99-c.cfg", True), ("99_a.cfg", True)]
)
def test_a_file_that_cloud_init_reads_after_ours_is_named(machine: Throwaway, name: str, goes_by: bool) -> None:
    own_files(machine)
    machine.says(f"echo 'datasource_list: [ NoCloud ]' > /etc/cloud/cloud.cfg.d/{name}")
    complaint = f"cloud-init goes by /etc/cloud/cloud.cfg.d/{name} in what it does with user-data"
    assert (complaint in machine.validate("system", LC_ALL="en_US.UTF-8")) == goes_by


def test_no_leap_second_is_stepped_that_the_clock_smears() -> None:
    """Amazon's 169.254.169.123 does (EC2 user guide, "Set the time reference")."""
    assert "\nleapsectz" not in (PACKER / "rootfs/etc/chrony/chrony.conf").read_text()
