"""Every shell script of the repository, as `shellcheck FILE` sees it: .shellcheckrc has the settings, nobody else."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.lab.cache import CHECKOUT

SHEBANG = re.compile(rb"#! ?/\S*(/env )?\b(ba|da)?sh\b")


def scripts() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=CHECKOUT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name and is_script(CHECKOUT / name)]


def is_script(path: Path) -> bool:
    if not path.is_file() or path.suffix == ".txt":  # what `coordinator userdata` prints has a shebang, too
        return False
    with path.open("rb") as file:
        return path.suffix in (".sh", ".bash") or bool(SHEBANG.match(file.readline(100)))


def test_scripts_are_found_by_suffix_and_by_shebang() -> None:
    assert {"packer/install.sh", "tests/lab/bake/dress.bash", ".ci/run", "tests/lab/alone"} <= set(scripts())
    assert "tests/lab/rootfs/usr/sbin/dmidecode" in scripts()


@pytest.mark.parametrize("script", scripts())
def test_shellcheck_finds_nothing(script: str) -> None:
    done = subprocess.run(
        ["shellcheck", script], cwd=CHECKOUT, check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout
