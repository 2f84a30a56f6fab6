"""What a node gets lies in tests/units/golden/, so that every change of it is seen in review."""

import base64
import re

import pytest

from tests.units.golden import FOLDER, cases, rendered

CASES = sorted(cases())
SECRET = re.compile(r"PRIVATE KEY|BEGIN (RSA|EC|OPENSSH)|client-key-data|password|MII[EC][vVow]", re.IGNORECASE)


def lying_there(name: str) -> dict[str, str]:
    folder = FOLDER / name
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", CASES)
def test_the_goldens_are_what_is_rendered_now(name: str) -> None:
    now, golden = rendered(*cases()[name]), lying_there(name)
    different = sorted(file for file in now.keys() | golden.keys() if now.get(file) != golden.get(file))
    assert not different, f"{name}: {different} changed: run `make golden` and review the diff"


def test_every_golden_folder_belongs_to_a_case() -> None:
    assert sorted(path.name for path in FOLDER.iterdir() if path.is_dir()) == CASES


@pytest.mark.parametrize("name", CASES)
def test_two_renderings_are_the_same_bytes(name: str) -> None:
    assert rendered(*cases()[name]) == rendered(*cases()[name])


@pytest.mark.parametrize("name", CASES)
def test_no_golden_holds_a_secret(name: str) -> None:
    for file, text in lying_there(name).items():
        assert not SECRET.search(text), f"{name}/{file}"


def test_the_scan_for_secrets_would_find_one() -> None:
    assert SECRET.search("-----BEGIN PRIVATE KEY-----")
    assert SECRET.search(base64.b64encode(bytes.fromhex("308204be020100300d06092a864886f7")).decode())


@pytest.mark.parametrize("name", CASES)
def test_texts_end_with_one_newline_and_hold_no_trailing_space(name: str) -> None:
    for file, text in lying_there(name).items():
        assert text.endswith("\n"), f"{name}/{file}"
        assert not text.endswith("\n\n"), f"{name}/{file}"
        spaced = [line for line in text.splitlines() if line != line.rstrip()]
        assert not spaced, f"{name}/{file}: {spaced}"
