"""A node's Python environment: the locked packages of requirements/agent.txt, the wheel, all of it byte-compiled.

    $BOOTWRIGHT_CACHE/bench-venv/packages-HASH   the locked packages, made once a lock file
    $BOOTWRIGHT_CACHE/bench-venv/node-HASH       the same files (hard links), and the wheel of this checkout

As packer/install.sh makes it, so that what is measured is what a node runs: boto3 is not there.
"""

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cache
from tests.lab.wheelhouse import DISTRIBUTION, LOCK, bootwright

_HARNESS = ("__init__", "boot_command", "child", "peer_command", "sandbox", "sync_command", "tools", "watched")
HARNESS = ("tests/__init__.py", *(f"tests/bench/{name}.py" for name in _HARNESS))
_KEPT = 3


@dataclass(frozen=True, slots=True)
class NodeVenv:
    path: Path

    @property
    def python(self) -> Path:
        return self.path / "bin/python"

    @property
    def harness(self) -> Path:
        """Goes to the end of the path of a measured process."""
        return self.path / "harness"


def node_venv() -> NodeVenv:
    """Made when it is not there; a minute and a half the first time, three seconds after a change of the code."""
    folder = cache.folder("bench-venv")
    with cache.locked("bench-venv"):
        packages = folder / f"packages-{cache.digest(LOCK, Path(__file__), sys.version)[:16]}"
        if not packages.exists():
            _install_packages(packages)
        sources = [path for name in (*DISTRIBUTION, *HARNESS) if (path := cache.CHECKOUT / name).exists()]
        wanted = folder / f"node-{cache.digest(packages.name, *sources)[:16]}"
        if not wanted.exists():
            _add_wheel(packages, wanted)
        os.utime(wanted)
        for old in sorted(folder.glob("node-*"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            shutil.rmtree(old)
        return NodeVenv(wanted)


def _install_packages(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        venv = Path(scratch) / "venv"
        _run(sys.executable, "-m", "venv", str(venv))
        pip = (str(venv / "bin/python"), "-m", "pip", "--disable-pip-version-check", "--quiet")
        _run(*pip, "install", "--require-hashes", "--no-compile", "-r", str(LOCK))
        for name in ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth"):
            _remove(venv, name)
        _compile(venv)
        venv.rename(target)


def _add_wheel(packages: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        venv = Path(scratch) / "venv"
        shutil.copytree(packages, venv, symlinks=True, copy_function=os.link)
        (site,) = venv.glob("lib/python3*/site-packages")
        wheels = Path(scratch) / "wheels"
        wheels.mkdir()
        with zipfile.ZipFile(bootwright(wheels)) as wheel:
            wheel.extractall(site)
        for name in HARNESS:
            copy = venv / "harness" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cache.CHECKOUT / name, copy)
        for package in (*(site / name for name in ("agent", "units", "pki", "coordinator")), venv / "harness"):
            _compile(package)
        _run(str(venv / "bin/python"), "-I", "-m", "agent.make_modules")
        venv.rename(target)


def _remove(venv: Path, name: str) -> None:
    """What a node's venv has not; pip was needed to fill this one."""
    (site,) = venv.glob("lib/python3*/site-packages")
    for path in (site / name, *site.glob(f"{name}-*.dist-info")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _compile(tree: Path) -> None:
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    # A package may bring files of another Python: not our business.
    compileall.compile_dir(tree, quiet=2, workers=0, invalidation_mode=unchecked)


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
