"""Commands in a copy of an image's file system that leaves the image alone: install.sh and validate.sh, no machine.

    python -m tests.lab.chroot [BASE...]      bakes what that starts from: Debian, its packages, the Python ones

Every run has mounts and processes of its own, which end with it; what it wrote stays in a folder. PID 1 is no systemd:
units can be enabled and looked at, not started.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.lab import image, packer
from tests.lab.bases import BASES, Base
from tests.lab.layers import SCRIPTS, build

SECONDS = 600.0
# What the image of packages has not been through yet.
INSTALLED = ("binaries", "bootwright", "assets", "images", "harden", "inventory", "clean")


@dataclass(frozen=True, slots=True)
class Chroot:
    """`upper` holds what was changed over `lowers` (topmost first) over the image `base`."""

    base: Path
    upper: Path
    wheelhouse: Path
    packer: Path
    lowers: tuple[Path, ...] = ()
    given: Path | None = None  # read-only at /run/given

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Bash's outcome, as root in there, with /run/packer, /run/wheelhouse and /run/given."""
        isolated = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
        folders = ":".join(str(path) for path in (self.upper, *self.lowers))
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PACKER": str(self.packer)}
        environment |= {"WHEELHOUSE": str(self.wheelhouse), "GIVEN": str(self.given or "")}
        return subprocess.run(
            [*isolated, "bash", str(SCRIPTS / "overlay.sh"), str(self.base), folders],
            check=False,
            input=script,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            env=environment,
        )

    def install(self, *steps: str, variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return self.run(f"{_words(variables)} bash /run/packer/install.sh {' '.join(steps)}")

    def validate(self, *checks: str, variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return self.run(f"{_words(variables)} bash /run/packer/validate.sh {' '.join(checks)}")

    def copy(self, upper: Path) -> "Chroot":
        """What is here now, to be changed on its own."""
        return replace(self, upper=upper, lowers=(self.upper, *self.lowers))


@contextmanager
def mounted(disk: Path) -> Iterator[Path]:
    """Its file system, to be looked at."""
    # noload: an image that others copy from must not change, not even by its journal.
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-o", "ro,loop,noload", str(disk), folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def prepared(base: Base, folder: Path, given: Path | None = None) -> Chroot:
    """Debian with all packages and the locked Python ones; the wheel of this checkout at hand. In the new `folder`."""
    wheels = packer.wheels(folder / "wheelhouse", base)
    # Bash reads a script as it goes on, and somebody may be at work on it.
    scripts = shutil.copytree(image.PACKER, folder / "packer")
    return Chroot(build(image.python_layer(base)), folder / "changes", wheels, scripts, given=given)


def installed(base: Base, folder: Path) -> Chroot:
    """The same after the other steps of install.sh. Raises AssertionError with what it said."""
    made = prepared(base, folder)
    done = made.install(*INSTALLED)
    if done.returncode:
        raise AssertionError(done.stderr)
    return made


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What validate.sh found amiss, one line each, without its summary."""
    said = [line.removeprefix("validate.sh: ") for line in done.stderr.splitlines()]
    return [line for line in said if not line.startswith(("the image is as it should be", "this image is not fit"))]


def _words(variables: Mapping[str, str] | None) -> str:
    return " ".join(f"{name}='{value}'" for name, value in (variables or {}).items())


def main(names: list[str]) -> int:
    for base in [BASES[name] for name in names] or BASES.values():
        print(build(image.python_layer(base)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
