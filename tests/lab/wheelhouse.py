"""The wheelhouse: every Python package of the node image as a wheel, fetched and built outside the image.

    python -m tests.lab.wheelhouse DIR [BASE]      for Packer: all of packer/install.sh's WHEELHOUSE in DIR, for the
                                                   Python of debian-13 or debian-12

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
from tests.lab.bases import BASES, DEBIAN_13, Base
from tests.lab.layers import Layer, build_once
from tests.lab.progress import step
from tests.lab.run import CommandFailed, run

LOCK = cache.CHECKOUT / "requirements/agent.txt"
SOURCE_ONLY = ("etcd3", "systemd-python")  # PyPI has no wheels of these
DISTRIBUTION = ("agent", "coordinator", "units", "pki", "pyproject.toml", "README.md")


@dataclass(frozen=True, slots=True)
class Requirement:
    name: str
    text: str  # as in the lock: version, marker and hashes

    @property
    def hashes(self) -> frozenset[str]:
        return frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", self.text))


def dependencies(debian: Layer, base: Base = DEBIAN_13) -> Path:
    """A folder of wheels and a requirements.txt with their sha256; what PyPI has no wheel of is built in `debian`.

    debian: the layer of that base.
    """
    wanted = cache.folder("wheelhouses") / cache.digest(LOCK, base.python, *base.platforms, debian.key)[:16]
    with cache.locked(f"{base.layers}wheelhouse"):
        if not wanted.exists():
            with tempfile.TemporaryDirectory(dir=cache.folder()) as scratch:
                wheels = Path(scratch) / "wheels"
                wheels.mkdir()
                _collect(debian, base, Path(scratch), wheels)
                wheels.chmod(0o755)
                wheels.rename(wanted)
    return wanted


def _collect(debian: Layer, base: Base, scratch: Path, wheels: Path) -> None:
    locked = requirements(LOCK.read_text())
    ready = tuple(item for item in locked if item.name not in SOURCE_ONLY)
    with step(f"wheels of {len(ready)} locked packages"):
        platforms = [word for tag in base.platforms for word in ("--platform", tag)]
        only = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", base.python, *platforms]
        _pip_download(ready, wheels, scratch, *only)
    with step(f"wheels of {', '.join(SOURCE_ONLY)} from source"):
        sources = scratch / "sources"
        sources.mkdir()
        for item in locked:
            if item.name in SOURCE_ONLY:
                sdists.fetch(item.name, item.hashes, sources)
        environment = {"SOURCES": str(sources), "WHEELS": str(wheels), "APT_CACHE": str(cache.folder("apt"))}
        build_once(Layer(f"{base.layers}toolbox", debian, "toolbox.sh", environment, inputs=()))
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

    if len(arguments) not in (1, 2) or arguments[0].startswith("-") or not set(arguments[1:]) <= set(BASES):
        print(__doc__, file=sys.stderr)
        return 2
    target = Path(arguments[0])
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        print(f"{target} is not empty", file=sys.stderr)
        return 2
    try:
        base = BASES[arguments[1]] if arguments[1:] else DEBIAN_13
        shutil.copytree(dependencies(debian_layer(base), base), target, dirs_exist_ok=True)
        bootwright(target)
    except CommandFailed as error:
        print(f"wheelhouse: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1:]))
