"""The wheelhouse: every Python package of the node image as a wheel, fetched and built outside the image.

    python -m tests.lab.wheelhouse DIR      for Packer: all of packer/install.sh's WHEELHOUSE in DIR

An image build must not depend on the network, and inside it pip has neither the host's certificates nor its settings.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cache, sdists
from tests.lab.layers import Layer, build_once
from tests.lab.progress import step
from tests.lab.run import CommandFailed, run

LOCK = cache.CHECKOUT / "requirements/agent.txt"
PYTHON = "3.13"  # Debian 13's
# Debian 13 has glibc 2.41; pip takes each of these as exactly that tag.
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in (39, 34, 31, 28, 24, 17, 12, 5)),
    *("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"),
)
SOURCE_ONLY = ("etcd3", "systemd-python")  # PyPI has no wheels of these
DISTRIBUTION = ("agent", "coordinator", "units", "pki", "pyproject.toml", "README.md")


@dataclass(frozen=True, slots=True)
class Requirement:
    name: str
    text: str  # as in the lock: version, marker and hashes

    @property
    def hashes(self) -> frozenset[str]:
        return frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", self.text))


def dependencies(debian: Layer) -> Path:
    """A folder of wheels and a requirements.txt with their sha256; what PyPI has no wheel of is built in a `debian`."""
    wanted = cache.folder("wheelhouses") / cache.digest(LOCK, PYTHON, *PLATFORMS, debian.key)[:16]
    with cache.locked("wheelhouse"):
        if not wanted.exists():
            with tempfile.TemporaryDirectory(dir=cache.folder()) as scratch:
                wheels = Path(scratch) / "wheels"
                wheels.mkdir()
                _collect(debian, Path(scratch), wheels)
                wheels.chmod(0o755)
                wheels.rename(wanted)
    return wanted


def _collect(debian: Layer, scratch: Path, wheels: Path) -> None:
    locked = requirements(LOCK.read_text())
    ready = tuple(item for item in locked if item.name not in SOURCE_ONLY)
    with step(f"wheels of {len(ready)} locked packages"):
        platforms = [word for tag in PLATFORMS for word in ("--platform", tag)]
        only = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", PYTHON, *platforms]
        _pip_download(ready, wheels, scratch, *only)
    with step(f"wheels of {', '.join(SOURCE_ONLY)} from source"):
        sources = scratch / "sources"
        sources.mkdir()
        for item in locked:
            if item.name in SOURCE_ONLY:
                sdists.fetch(item.name, item.hashes, sources)
        environment = {"SOURCES": str(sources), "WHEELS": str(wheels), "APT_CACHE": str(cache.folder("apt"))}
        build_once(Layer("toolbox", debian, "toolbox.sh", environment, inputs=()))
    (wheels / "requirements.txt").write_text(relock(locked, wheels))


def _pip_download(wanted: Iterable[Requirement], target: Path, scratch: Path, *options: str) -> None:
    """Every file's hash must be one of the lock's."""
    subset = scratch / "subset.txt"
    subset.write_text("".join(item.text for item in wanted))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    hashed = ["--require-hashes", "--no-deps", "-r", str(subset), "--dest", str(target)]
    run([*pip, "download", *options, *hashed])


def requirements(lock: str) -> tuple[Requirement, ...]:
    """The entries of a hashed lock file, comments dropped."""
    lines = [line for line in lock.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    entries = re.split(r"\n(?=\S)", "\n".join(lines))
    return tuple(Requirement(re.split(r"[=\s]", entry, maxsplit=1)[0], entry + "\n") for entry in entries)


def relock(locked: Iterable[Requirement], wheels: Path) -> str:
    """A lock of just the files in `wheels`: those made from source have hashes that no index knows."""
    by_name = {wheel.name.split("-")[0].lower().replace("_", "-"): wheel for wheel in wheels.glob("*.whl")}
    lines = []
    for item in locked:
        wheel = by_name[item.name]
        version = wheel.name.split("-")[1]
        lines.append(f"{item.name}=={version} --hash=sha256:{cache.sha256_of(wheel)}\n")
    return "".join(sorted(lines))


def bootwright(target: Path) -> Path:
    """The wheel of this checkout in `target`, built from a copy: nothing is left behind in the checkout."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir()
        for name in DISTRIBUTION:
            source = cache.CHECKOUT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy2(source, tree / name)
        (tree / "README.md").touch()  # the build back end insists on one
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(tree)]
        run(build, env={"SOURCE_DATE_EPOCH": "1577836800"})
    (wheel,) = target.glob("bootwright-*.whl")
    return wheel


def main(arguments: list[str]) -> int:
    from tests.lab.image import debian_layer

    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    target = Path(arguments[0])
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        print(f"{target} is not empty", file=sys.stderr)
        return 2
    try:
        shutil.copytree(dependencies(debian_layer()), target, dirs_exist_ok=True)
        bootwright(target)
    except CommandFailed as error:
        print(f"wheelhouse: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1:]))
