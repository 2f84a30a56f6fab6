"""The agent as one file, for images that were not baked: the wheelhouse of an image build, and packer/ beside it.

The same input makes the same bytes, so that publishing twice changes nothing.
"""

import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from coordinator.assets import Upload, measure
from coordinator.documents import AgentBundle
from units.errors import Invalid, Problem

# PEP 427: NAME-VERSION(-BUILD)?-PYTHON-ABI-PLATFORM.whl; the platform may be several, with dots between.
_WHEEL: Final = re.compile(
    r"(?P<name>[^-]+)-(?P<version>[^-]+)(-\d[^-]*)?-(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<on>[^-]+)\.whl"
)
_MACHINES: Final = ("x86_64", "aarch64")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_LEFT_OUT: Final = (".hcl", ".md", ".pyc")
_BAKED_ONLY: Final = "assets"  # what an image build puts beside: a node fetches it by its manifest


def make_bundle(wheelhouse: Path, packer: Path, target: Path) -> Upload:
    """Write the bundle to `target`; what it is goes into the catalogue. Invalid for what is no wheelhouse."""
    python, machine, version = _described(wheelhouse)
    with target.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in _members(wheelhouse, packer):
            _add(archive, name, path)
    digest, size = measure(target)
    return Upload(target, AgentBundle(python=python, machine=machine, version=version, sha256=digest, size=size))


def _described(wheelhouse: Path) -> tuple[str, str, str]:
    """Python, machine and bootwright's version, from the names of the wheels."""
    wheels = {path: found for path in sorted(wheelhouse.glob("*.whl")) if (found := _WHEEL.fullmatch(path.name))}
    own = [found for found in wheels.values() if found["name"] == "bootwright"]
    pythons = {found["abi"] for found in wheels.values() if re.fullmatch(r"cp3\d+", found["abi"])}
    machines = {machine for found in wheels.values() for machine in _MACHINES if machine in found["on"]}
    problems = [*_unlocked(wheelhouse, list(wheels)), *_with_data(list(wheels))]
    if len(own) != 1:
        problems.append(Problem("bootwright-*.whl", f"{len(own)} found; one is allowed"))
    if len(pythons) != 1 or len(machines) != 1:
        found_text = f"{', '.join(sorted(pythons)) or 'no Python'} on {', '.join(sorted(machines)) or 'no machine'}"
        problems.append(Problem("*.whl", f"compiled for {found_text}; one of each is allowed"))
    if problems:
        raise Invalid(
            "wheelhouse-invalid",
            f"{wheelhouse} is not a wheelhouse",
            problems=tuple(problems),
            remedy="make one with `python -m tests.lab.wheelhouse DIR`, as for an image build",
        )
    return f"3.{pythons.pop().removeprefix('cp3')}", machines.pop(), own[0]["version"]


def _unlocked(wheelhouse: Path, wheels: list[Path]) -> Iterator[Problem]:
    """Every wheel but our own has its hash in requirements.txt, as pip --require-hashes wants it of an image build."""
    lock = wheelhouse / "requirements.txt"
    if not lock.is_file():
        yield Problem("requirements.txt", "is missing")
        return
    known = set(_HASH.findall(lock.read_text()))
    for path in wheels:
        if not path.name.startswith("bootwright-") and hashlib.sha256(path.read_bytes()).hexdigest() not in known:
            yield Problem(path.name, "its sha256 is not in requirements.txt")


def _with_data(wheels: list[Path]) -> Iterator[Problem]:
    """A wheel with files for other places needs an installer, which a stock image has not. Scripts are not missed."""
    for path in wheels:
        try:
            names = zipfile.ZipFile(path).namelist()
        except (OSError, zipfile.BadZipFile) as error:
            yield Problem(path.name, f"cannot be read: {error}")
            continue
        parts = {"/".join(name.split("/")[:2]) for name in names if ".data/" in name}
        if beyond := [part for part in sorted(parts) if not part.endswith("/scripts")]:
            yield Problem(path.name, f"holds {', '.join(beyond)}")


def _members(wheelhouse: Path, packer: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(wheelhouse.glob("*.whl")):
        yield f"wheels/{path.name}", path
    if not (packer / "install.sh").is_file() or not (packer / "rootfs").is_dir():
        raise Invalid("packer-missing", f"{packer} holds no install.sh and rootfs/", remedy="name it with --packer")
    for path in sorted(packer.rglob("*")):
        inside = path.relative_to(packer)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.is_file() and path.suffix not in _LEFT_OUT and inside.parts[0] != _BAKED_ONLY and not hidden:
            yield f"packer/{inside.as_posix()}", path


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    """With neither times nor owners."""
    body = path.read_bytes()
    member = tarfile.TarInfo(name)
    member.size = len(body)
    member.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    archive.addfile(member, io.BytesIO(body))
