"""validate.sh on a throw-away copy of this machine: every complaint comes of what was spoiled, and goes with it."""

from pathlib import Path

import pytest

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
