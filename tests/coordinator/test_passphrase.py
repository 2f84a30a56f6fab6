"""Where a passphrase comes from, and that it goes nowhere else."""

from pathlib import Path

import pytest

from coordinator.passphrase import Passphrase
from units.errors import Invalid


def test_it_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTWRIGHT_PASSPHRASE", "from the environment")
    assert Passphrase().get() == b"from the environment"


def test_it_comes_from_a_file_without_the_newline_at_its_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "passphrase").write_text("from a file \n")
    monkeypatch.setenv("BOOTWRIGHT_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    assert Passphrase().get() == b"from a file "


def test_two_sources_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTWRIGHT_PASSPHRASE", "one")
    monkeypatch.setenv("BOOTWRIGHT_PASSPHRASE_FILE", "/dev/null")
    with pytest.raises(Invalid, match="both set"):
        Passphrase().get()


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 2000, b"\xff\xfe"])
def test_a_file_without_a_usable_passphrase_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "passphrase").write_bytes(content)
    monkeypatch.setenv("BOOTWRIGHT_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    with pytest.raises(Invalid, match="BOOTWRIGHT_PASSPHRASE_FILE"):
        Passphrase().get()


def test_without_a_terminal_it_is_not_waited_for() -> None:
    with pytest.raises(Invalid) as caught:
        Passphrase().get()
    assert caught.value.code == "passphrase-missing"
    assert "BOOTWRIGHT_PASSPHRASE_FILE" in caught.value.remedy


def test_a_new_one_must_be_long_an_old_one_need_not() -> None:
    assert Passphrase("short").get() == b"short"
    with pytest.raises(Invalid, match="5 characters"):
        Passphrase("short").choose()


def test_it_does_not_show_in_a_repr() -> None:
    assert "hunter2" not in repr(Passphrase("hunter2"))
