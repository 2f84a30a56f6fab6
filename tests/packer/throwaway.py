"""install.sh and validate.sh on a copy of this very machine's file system that is thrown away: no lab, no image.

What the machine lacks (a boot loader, another distribution's package manager) a double stands in for, and tests say so.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.cache import CHECKOUT

INSIDE = """
set -euo pipefail
mkdir -p {upper} {upper}.work {upper}.root
mount -t overlay -o lowerdir=/,upperdir={upper},workdir={upper}.work copy {upper}.root
cd {upper}.root
mount -t proc proc proc
mount --rbind /dev dev
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755 run run
mkdir run/packer run/doubles
mount --bind {packer} run/packer
mount --bind {doubles} run/doubles
exec env -i PATH=/run/doubles:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 chroot . bash -s
"""
OS_RELEASE = {
    "debian-12": 'ID=debian\nVERSION_ID="12"\n',
    "debian-13": 'ID=debian\nVERSION_ID="13"\n',
    "ubuntu-24.04": 'ID=ubuntu\nVERSION_ID="24.04"\n',
    "amazon-linux-2023": 'ID="amzn"\nVERSION_ID="2023"\n',
}


@dataclass(frozen=True, slots=True)
class Throwaway:
    """What a script changed stays in `folder` for the next one. doubles: name and text of programs found first."""

    folder: Path
    doubles: Mapping[str, str] = field(default_factory=dict)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        doubles = self.folder / "doubles"
        doubles.mkdir(exist_ok=True)
        for name, text in self.doubles.items():
            (doubles / name).write_text(f"#!/bin/bash\n{text}\n")
            (doubles / name).chmod(0o755)
        begin = INSIDE.format(upper=self.folder / "upper", packer=CHECKOUT / "packer", doubles=doubles)
        isolated = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
        return subprocess.run(
            [*isolated, "bash", "-c", begin],
            check=False,
            input=script,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
        )

    def says(self, script: str) -> str:
        """What it printed; it must succeed."""
        done = self.run(f"set -e\n{script}")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def become(self, base: str) -> None:
        """As far as install.sh looks: /etc/os-release, and Amazon's own file."""
        amazon = "touch" if base == "amazon-linux-2023" else "rm -f"
        self.says(f"echo '{OS_RELEASE[base]}' > /etc/os-release; {amazon} /etc/amazon-linux-release")

    def validate(self, check: str, **variables: str) -> list[str]:
        """What validate.sh finds amiss, a line each; there is more than what a test has spoiled."""
        words = " ".join(f"{name}='{value}'" for name, value in variables.items())
        done = self.run(f"{words} bash /run/packer/validate.sh {check}")
        return [line.removeprefix("validate.sh: ") for line in done.stderr.splitlines()]
