"""packer/unpack.py: of a release archive only regular files and folders, in the folder it was given, as one's own."""

import gzip
import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.cache import CHECKOUT

NAME = "etcd-v3.6.5-linux-amd64.tar.gz"
PROGRAM = b"#!/bin/sh\necho it runs\n"


def member(name: str, **fields: object) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(entry, field, value)
    return entry


def packed(folder: Path, *entries: tarfile.TarInfo) -> Path:
    """Each regular file has the program's content; a harmless one comes first."""
    path = folder / NAME
    with tarfile.open(path, "w:gz") as archive:
        for entry in (member("first", mode=0o644), *entries):
            entry.size = len(PROGRAM) if entry.isreg() else 0
            archive.addfile(entry, io.BytesIO(PROGRAM) if entry.isreg() else None)
    return path


def unpack(archive: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = ["python3", "-I", str(CHECKOUT / "packer/unpack.py"), str(archive), str(folder)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    target = tmp_path / "unpacked"
    target.mkdir()
    return target


UNSAFE = {
    "parent": (lambda: member("../outside"), "'../outside' would lie outside"),
    "parent-inside": (lambda: member("bin/../../outside"), "would lie outside"),
    "absolute": (lambda: member("/etc/cron.d/outside"), "would lie outside"),
    "symlink": (lambda: member("bin", type=tarfile.SYMTYPE, linkname="/etc"), "neither a file nor a folder"),
    "inner-symlink": (lambda: member("bin", type=tarfile.SYMTYPE, linkname="first"), "neither a file nor a folder"),
    "hard-link": (lambda: member("bin", type=tarfile.LNKTYPE, linkname="first"), "neither a file nor a folder"),
    "device": (lambda: member("sda", type=tarfile.BLKTYPE, devmajor=8), "neither a file nor a folder"),
    "pipe": (lambda: member("pipe", type=tarfile.FIFOTYPE), "neither a file nor a folder"),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_an_archive_with_anything_else_is_refused_as_a_whole(name: str, folder: Path, tmp_path: Path) -> None:
    entry: Callable[[], tarfile.TarInfo]
    entry, complaint = UNSAFE[name]
    done = unpack(packed(tmp_path, entry()), folder)
    assert done.returncode == 1
    assert done.stderr.startswith(f"unpack.py: {NAME}: ")
    assert complaint in done.stderr
    assert list(folder.iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_special_modes_and_foreign_owners_are_not_taken_over(folder: Path, tmp_path: Path) -> None:
    entries = (
        member("./bin/", type=tarfile.DIRTYPE, mode=0o2777, uid=528287),
        member("./bin/setuid", mode=0o6777, uid=528287, gid=528287),
        member("./bin/README.md", mode=0o666),
    )
    done = unpack(packed(tmp_path, *entries), folder)
    assert (done.returncode, done.stderr) == (0, "")
    found = {path.name: path.stat() for path in folder.rglob("*")}
    modes = {name: oct(stat.st_mode & 0o7777) for name, stat in found.items()}
    assert modes == {"first": "0o644", "bin": "0o755", "setuid": "0o755", "README.md": "0o644"}
    assert {stat.st_uid for stat in found.values()} == {folder.stat().st_uid}
    assert (folder / "bin/setuid").read_bytes() == PROGRAM


@pytest.mark.parametrize("kept", [0, 20, -30])
def test_an_archive_that_was_cut_short_is_refused(kept: int, folder: Path, tmp_path: Path) -> None:
    archive = packed(tmp_path, member("etcd", mode=0o755))
    archive.write_bytes(archive.read_bytes()[:kept])
    done = unpack(archive, folder)
    assert done.returncode == 1
    assert f"{NAME} cannot be unpacked" in done.stderr


def test_what_is_no_archive_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(gzip.compress(b"<html>404 Not Found</html>"))
    done = unpack(tmp_path / NAME, folder)
    assert done.returncode == 1
    assert f"{NAME} cannot be unpacked" in done.stderr


def test_an_archive_that_claims_more_than_a_release_can_hold_is_refused(folder: Path, tmp_path: Path) -> None:
    huge = member("etcd", mode=0o755, size=3 << 30)
    with gzip.open(tmp_path / NAME, "wb") as file:
        file.write(huge.tobuf() + bytes(2 * tarfile.BLOCKSIZE))
    done = unpack(tmp_path / NAME, folder)
    assert done.returncode == 1
    assert NAME in done.stderr
    assert list(folder.iterdir()) == []
