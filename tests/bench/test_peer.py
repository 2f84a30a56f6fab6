"""What `make bench-peer` does with what it is given as kubeadm. The comparison itself needs the real one."""

import os
import re
from pathlib import Path

import pytest

from tests.bench import peer


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_without_a_kubeadm_it_says_how_to_give_one_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBEADM", raising=False)
    assert peer.main([]) == 0
    assert capsys.readouterr().out == "no kubeadm to compare with: KUBEADM=/path/to/kubeadm make bench-peer\n"
    assert peer.main(["--kubeadm", ""]) == 0  # as make gives it


def test_the_environment_names_it_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("KUBEADM", "/nowhere/kubeadm")
    assert peer.main([]) == 2
    assert "/nowhere/kubeadm cannot be run: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    ["echo Usage: ls; exit 1", "echo v1.36.2; exit 3", "echo hello"],
    ids=["fails", "version, but fails", "other"],
)
def test_another_program_is_no_kubeadm(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert peer.main(["--kubeadm", str(script(tmp_path / "kubeadm", text))]) == 2
    assert "is no kubeadm: `version --output short` says " in capsys.readouterr().err


def test_a_file_that_cannot_be_executed_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kubeadm").write_text("text")
    assert peer.main(["--kubeadm", str(tmp_path / "kubeadm")]) == 2
    assert "cannot be run" in capsys.readouterr().err


def test_no_runs_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as end:
        peer.main(["--kubeadm", str(script(tmp_path / "kubeadm", "echo v1.36.2")), "--runs", "0"])
    assert end.value.code == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not os.environ.get("KUBEADM") or os.geteuid() != 0, reason="needs KUBEADM=PATH, and root for chroot"
)
def test_both_sides_do_the_work_and_stand_in_one_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert peer.main(["--runs", "1"]) == 0
    rows = re.findall(r"^\| (bootwright|kubeadm[^|]*?) \| \d", capsys.readouterr().out, re.MULTILINE)
    assert len(rows) == 3
