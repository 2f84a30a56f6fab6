"""packer/ without a machine: Packer reads it for every base and architecture."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.lab import packer
from tests.lab.cache import CHECKOUT

PACKER = CHECKOUT / "packer"
BASES = ("debian-12", "debian-13", "ubuntu-24.04", "amazon-linux-2023")
SHA256 = "a" * 64
PINNED = '{version="1.2.3",sha256={amd64="' + SHA256 + '"}}'
PINS = {**{name: name for name in ("containerd", "runc", "cni", "etcd")}, "kubernetes": "the kubelet"}

UNREAD = f"NOBODY HAS READ packer/*.pkr.hcl HERE: {packer.why_not()} (docs/image.md)"

needs_packer = pytest.mark.skipif(bool(packer.why_not()), reason=UNREAD)


def validate(folder: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    every = {"wheelhouse": str(folder.parent), "region": "eu-west-1", **variables}
    words = [word for name, value in every.items() for word in ("-var", f"{name}={value}")]
    command = ["packer", "validate", *words, str(folder)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packer.template(tmp_path_factory.mktemp("packer") / "packer")


@needs_packer
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_packer_takes_the_template_for_every_base(folder: Path, base: str, arch: str) -> None:
    done = validate(folder, {"base": base, "arch": arch})
    assert done.returncode == 0, done.stdout + done.stderr


@needs_packer
@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"base": "debian-11"}, "must be one of debian-12, debian-13"),
        ({"arch": "riscv64"}, "must be amd64 or arm64"),
        ({"etcd": '{version="3.6.5",sha256={}}'}, "etcd needs the sha256"),
        ({"containerd": '{version="2.3.4",sha256={}}'}, "containerd needs the sha256"),
        ({"kubernetes": '{version="1.36.2",sha256={}}'}, "kubelet needs the sha256"),
        *(({"arch": "arm64", name: PINNED}, f"var.{name}.sha256 as map of string with 1 element") for name in PINS),
        *(({name: PINNED.replace(SHA256, "xyz")}, f"sha256 of {shown} must be 64") for name, shown in PINS.items()),
        *(({name: PINNED.replace(SHA256, f"{SHA256}a")}, f"of {shown} must be 64") for name, shown in PINS.items()),
        *(({name: PINNED.replace("1.2.3", "v1.2.3")}, f"version of {shown} must be") for name, shown in PINS.items()),
        ({"etcd": PINNED.replace("1.2.3", "1.2.3; reboot")}, "version of etcd must be"),
        ({"kms_key_id": "no such key"}, "is not a valid KMS Key Id"),
        ({"kms_key_id": "alias/nodes", "encrypt_boot": "false"}, "encrypt_boot"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_starts(
    folder: Path, variables: dict[str, str], complaint: str
) -> None:
    done = validate(folder, variables)
    assert done.returncode != 0
    assert complaint in " ".join((done.stdout + done.stderr).split())


@needs_packer
def test_pinned_versions_with_their_digests_are_taken(folder: Path) -> None:
    done = validate(folder, dict.fromkeys(PINS, PINNED))
    assert done.returncode == 0, done.stdout + done.stderr
    both = PINNED.replace("sha256={", 'sha256={arm64="' + "0" * 64 + '",')
    done = validate(folder, {"arch": "arm64", **dict.fromkeys(PINS, both), "etcd": both.replace("1.2.3", "3.7.0-rc.1")})
    assert done.returncode == 0, done.stdout + done.stderr


@needs_packer
def test_an_image_is_encrypted_unless_that_is_refused(folder: Path) -> None:
    """A key is taken only for a snapshot that is to be encrypted, and `encrypt_boot` is left as it is."""
    assert validate(folder, {"kms_key_id": "alias/nodes"}).returncode == 0
    assert validate(folder, {"encrypt_boot": "false"}).returncode == 0


@needs_packer
def test_a_root_of_trust_and_a_folder_of_assets_are_taken(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "root.json").write_text("{}")
    (tmp_path / "SHA256SUMS").touch()
    done = validate(folder, {"root_json": str(tmp_path / "root.json"), "assets": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    done = validate(folder, {"root_json": str(tmp_path / "missing.json")})
    assert done.returncode != 0


@needs_packer
def test_the_templates_are_formatted(folder: Path) -> None:
    done = subprocess.run(
        ["packer", "fmt", "-check", "-diff", str(PACKER)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_what_only_newer_packers_know_is_in_its_own_file_or_marked(folder: Path) -> None:
    newer = ("required_plugins", "imds_support", "metadata_options")
    whole = "".join(file.read_text() for file in PACKER.glob("*.pkr.hcl"))
    assert all(word in whole for word in newer)
    left = "".join(file.read_text() for file in folder.glob("*.pkr.hcl"))
    assert not [word for word in newer if word in left]
    assert 'imds_support = "v2.0"' in whole
    assert 'http_tokens                 = "required"' in whole
