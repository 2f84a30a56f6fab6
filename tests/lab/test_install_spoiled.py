"""validate.sh, one broken thing at a time: each is named, nothing else is, and no line of the script goes untried."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from tests.lab import image
from tests.lab.bases import DEBIAN_13
from tests.lab.chroot import INSTALLED, Chroot, complaints, prepared
from tests.lab.spoiled import ASSET, EVERYTHING, ROOT_JSON, Spoiled

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(900)]

# The rest needs pinned releases or image archives: tests/lab/test_install_releases.py, and where images are preloaded.
PINNED = "pinned"
LEAST = 8  # characters that have to agree where a case names only the beginning


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Chroot:
    bare = prepared(DEBIAN_13, tmp_path_factory.mktemp("image"))
    assert bare.given is not None
    (bare.given / "tool").write_bytes(ASSET)
    (bare.given / "SHA256SUMS").write_text(f"{hashlib.sha256(ASSET).hexdigest()}  tool\n")
    told = bare.told(ASSETS="/run/given", ROOT_JSON=base64.b64encode(ROOT_JSON.encode()).decode())
    done = told.install(*INSTALLED)
    assert done.returncode == 0, done.stderr
    return told


def test_as_it_was_made_nothing_is_wrong_with_it(made: Chroot) -> None:
    done = made.validate()
    assert (complaints(done), done.returncode) == ([], 0)


@pytest.mark.parametrize("spoiled", EVERYTHING, ids=lambda spoiled: f"{spoiled.check}: {spoiled.complaints[0][:60]}")
def test_a_broken_thing_is_named_and_nothing_else(made: Chroot, spoiled: Spoiled, tmp_path: Path) -> None:
    copy = made.copy(tmp_path / "copy")
    # In one go: what is mounted goes with the run.
    done = copy.run(f"set -e\n{{ {spoiled.command}\n}} > /dev/null\n{copy.validating(spoiled.check)}")
    found = complaints(done)
    assert len(found) == len(spoiled.complaints), f"{found}\n{done.stderr}"
    for said, expected in zip(found, spoiled.complaints, strict=True):
        assert said.startswith(expected)
    assert done.returncode == 1


def test_everything_that_validate_can_say_is_said_by_something_broken() -> None:
    """A check that nobody has seen fail may be one that cannot."""
    said = [expected for spoiled in EVERYTHING for expected in spoiled.complaints]
    script = (image.PACKER / "validate.sh").read_text()
    script = re.sub(r"^images_are_right\(\) \{.*?^\}", "", script, flags=re.MULTILINE | re.DOTALL)
    templates = re.findall(r'(?:amiss|expect) "((?:[^"\\]|\\.)+)"', script)
    templates += re.findall(r'yield f?"((?:[^"\\]|\\.)+)"', (image.PACKER / "compiled.py").read_text())
    templates = [text for text in templates if " " in text]
    assert len(templates) > 40, "the script is not read as it is written any more"
    untried = [text for text in templates if not any(_may_be(text, one) for one in said) and PINNED not in text]
    assert untried == []


def _may_be(template: str, said: str) -> bool:
    """Whether a line of this template can begin with `said`: constants in their order, anything in between."""
    constants = [text for text in re.split(r"\$\{[^}]*\}|\$\w+|\{[^}]*\}", template.split("$(", maxsplit=1)[0]) if text]
    at = 0
    for number, text in enumerate(constants):
        found = said.find(text, at)
        if found < 0:
            return number > 0 or any(text.startswith(said[begin:]) for begin in range(at, len(said) - LEAST))
        at = found + len(text)
    return True
