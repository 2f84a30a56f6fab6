"""install.sh and validate.sh in a chroot, on every base there is here; done again, install.sh changes nothing."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.lab.bases import BASES, Base
from tests.lab.chroot import INSTALLED, Chroot, complaints, installed
from tests.lab.releases import mounted

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(900)]

EVERY_STEP = ("check", "packages", "python", *INSTALLED)


@pytest.fixture(scope="module", params=list(BASES))
def base(request: pytest.FixtureRequest) -> Base:
    return BASES[request.param]


@pytest.fixture(scope="module")
def made(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Chroot:
    return installed(base, tmp_path_factory.mktemp(base.name))


def test_what_install_makes_validate_finds_nothing_wrong_with(made: Chroot, base: Base) -> None:
    done = made.validate()
    assert (complaints(done), done.returncode) == ([], 0)
    said = made.run("agent --help && cat /opt/bootwright/image.json").stdout
    assert f'"base": "{base.name}"' in said
    assert f'"python": "{base.python}.' in said


def test_done_again_it_changes_nothing(made: Chroot, tmp_path: Path) -> None:
    """Every step, the pinned ones aside, and nothing to be had from a network."""
    again = made.copy(tmp_path / "again")
    done = again.install(*EVERY_STEP)
    assert done.returncode == 0, done.stderr
    with mounted(again.base) as image:
        assert differences(again.upper, (*again.lowers, image)) == []


CUT_OFF = (
    "rm requirements.txt; rm -r lib/python3*/site-packages/cryptography",  # while pip was at work
    "echo another > bootwright.sha256; echo '# older' >> $(echo lib/python3*/site-packages/agent/cli.py)",
    "rm agent.modules",
)


@pytest.mark.nightly
def test_what_was_cut_off_or_is_of_another_wheel_is_made_anew(made: Chroot, tmp_path: Path) -> None:
    for number, command in enumerate(CUT_OFF):
        again = made.copy(tmp_path / str(number))
        assert again.run(f"cd /opt/bootwright/venv; {command}").returncode == 0
        assert complaints(again.validate("python")) != []
        done = again.install("python", "bootwright")
        assert done.returncode == 0, done.stderr
        assert complaints(again.validate("python")) == []


def differences(upper: Path, lowers: Sequence[Path]) -> list[str]:
    """Everything in `upper` that is not as it was: content, kind, mode, owner; of files below /opt the time, too."""
    found = []
    for path in sorted(upper.rglob("*")):
        name = path.relative_to(upper)
        before = next((layer / name for layer in lowers if os.path.lexists(layer / name)), None)
        if before is None or _looks(path) != _looks(before):
            found.append(str(name))
    return found


def _looks(path: Path) -> tuple[object, ...]:
    stat = path.lstat()
    content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
    times = stat.st_mtime_ns if "opt" in path.parts and path.is_file() and not path.is_symlink() else 0
    return stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev, content, times
