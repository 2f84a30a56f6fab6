"""Commands in a copy of an image's file system that leaves the image alone: install.sh and validate.sh, no machine.

    python -m tests.lab.chroot [BASE...]      bakes what that starts from: Debian, its packages, the Python ones

Every run has mounts and processes of its own, which end with it; what it wrote stays in a folder. PID 1 is no systemd:
units can be enabled and looked at, not started.
"""

import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.lab import image, packer, releases
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
    variables: Mapping[str, str] = field(default_factory=dict)  # what install.sh and validate.sh are told

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

    def install(self, *steps: str) -> subprocess.CompletedProcess[str]:
        return self.run(f"{self._words} bash /run/packer/install.sh {' '.join(steps)}")

    def validate(self, *checks: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.validating(*checks))

    def validating(self, *checks: str) -> str:
        return f"{self._words} bash /run/packer/validate.sh {' '.join(checks)}"

    def copy(self, upper: Path) -> "Chroot":
        """What is here now, to be changed on its own."""
        return replace(self, upper=upper, lowers=(self.upper, *self.lowers))

    def told(self, **variables: str) -> "Chroot":
        return replace(self, variables={**self.variables, **variables})

    @property
    def _words(self) -> str:
        return " ".join(f"{name}='{value}'" for name, value in self.variables.items())


def prepared(base: Base, folder: Path, names: Collection[str] | None = None) -> Chroot:
    """Debian with all packages and the locked Python ones; the wheel of this checkout at hand. In the new `folder`.

    names: the releases that are pinned, all of Debian 13's programs; by default what the base needs.
    """
    wheels = packer.wheels(folder / "wheelhouse", base)
    # Bash reads a script as it goes on, and somebody may be at work on it.
    scripts = shutil.copytree(image.PACKER, folder / "packer")
    pinned = releases.of_debian_13(folder / "given", base.pinned if names is None else names)
    variables = {"DOWNLOADS": "/run/given", **{one.name: one.pin for one in pinned}}
    base_image = build(image.python_layer(base))
    return Chroot(base_image, folder / "changes", wheels, scripts, given=folder / "given", variables=variables)


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


def main(names: list[str]) -> int:
    for base in [BASES[name] for name in names] or BASES.values():
        print(build(image.python_layer(base)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
