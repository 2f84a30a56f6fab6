"""install.sh's steps, each on a throw-away copy of this machine: what they refuse, what they leave behind."""

from pathlib import Path

import pytest

from tests.packer.throwaway import Throwaway

pytestmark = pytest.mark.root

PIN = "1.2.3:" + "a" * 64


@pytest.fixture
def machine(tmp_path: Path) -> Throwaway:
    return Throwaway(tmp_path)


@pytest.mark.parametrize(
    ("base", "pinned", "says"),
    [
        ("debian-12", {}, "has etcd 3.4 and containerd 1.6"),
        ("debian-12", {"ETCD": PIN}, "has containerd 1.6"),
        ("debian-12", {"CONTAINERD": PIN}, "has etcd 3.4"),
        ("debian-12", {"CONTAINERD": PIN, "ETCD": PIN}, ""),
        ("ubuntu-24.04", {}, "has etcd 3.4"),
        ("ubuntu-24.04", {"ETCD": PIN}, ""),
        ("amazon-linux-2023", {}, "has no etcd"),
        ("amazon-linux-2023", {"ETCD": PIN}, ""),
        ("debian-13", {}, ""),
    ],
)
def test_a_base_whose_own_is_too_old_wants_it_pinned(
    machine: Throwaway, base: str, pinned: dict[str, str], says: str
) -> None:
    machine.become(base)
    words = " ".join(f"{name}={value}" for name, value in pinned.items())
    done = machine.run(f"{words} bash /run/packer/install.sh check")
    assert done.returncode == (1 if says else 0), done.stderr
    assert says in done.stderr
    assert [name for name in ("ETCD", "CONTAINERD") if says and f"{name}=VERSION:SHA256" in done.stderr] == [
        name for name, word in (("ETCD", "etcd"), ("CONTAINERD", "containerd")) if word in says
    ]
