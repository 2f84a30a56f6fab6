"""The issuer's folder is a stranger's: whatever lies in it, root reads only small regular files with a Node's name."""

import os
from pathlib import Path

import pytest

from agent.issued import MOST, IssuedMarks, Mark, marks_pending
from agent.issuer.marks import mark_issued
from units.errors import Refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "issued"
    path.mkdir()
    return path


def marks(folder: Path) -> list[Mark]:
    with IssuedMarks(folder) as found:
        return list(found)


def test_what_the_issuer_writes_is_what_is_read(folder: Path) -> None:
    mark_issued("ip-10-0-0-1.eu-west-1.compute.internal", "workers", folder)
    (mark,) = marks(folder)
    assert (mark.node, mark.group, mark.outdated) == ("ip-10-0-0-1.eu-west-1.compute.internal", "workers", False)


def test_without_a_folder_there_is_nothing(tmp_path: Path) -> None:
    assert not marks_pending(tmp_path / "issued")
    assert marks(tmp_path / "issued") == []


def test_a_link_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/worker").write_text("workers")
    (tmp_path / "issued").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused) as caught:
        marks(tmp_path / "issued")
    assert caught.value.code == "issued-folder-refused"
    assert (tmp_path / "elsewhere/worker").exists()


def test_a_link_in_the_place_of_a_mark_is_not_followed_and_goes_away_alone(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("workers")
    (folder / "worker").symlink_to(secret)
    assert marks(folder) == []
    assert list(folder.iterdir()) == []
    assert secret.read_text() == "workers"


@pytest.mark.timeout(20)
def test_a_pipe_holds_nobody_up(folder: Path) -> None:
    os.mkfifo(folder / "worker")
    assert marks(folder) == []
    assert not marks_pending(folder)


def test_a_folder_in_the_place_of_a_mark_is_left_where_it_is(folder: Path) -> None:
    (folder / "worker").mkdir()
    (folder / "worker" / "inside").write_text("workers")
    mark_issued("other", "workers", folder)
    assert [mark.node for mark in marks(folder)] == ["other"]
    assert (folder / "worker" / "inside").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"a/b", b"../..", b"Workers", b"workers\nmore", b"\xff\xfe", b"w" * 300, b"workers\0", b" workers"],
)
def test_what_is_no_name_of_a_group_is_dropped(folder: Path, content: bytes) -> None:
    (folder / "worker").write_bytes(content)
    assert marks(folder) == []
    assert not marks_pending(folder)


def test_a_huge_file_is_not_read(folder: Path) -> None:
    with (folder / "worker").open("wb") as file:
        file.truncate(2**40)
    assert marks(folder) == []


def test_at_most_so_many_are_looked_at_in_one_run(folder: Path) -> None:
    for number in range(MOST + 5):
        (folder / f"worker-{number}").write_text("workers")
    assert len(marks(folder)) == MOST


def test_a_mark_that_was_written_anew_meanwhile_stays(folder: Path) -> None:
    mark_issued("worker", "workers", folder)
    with IssuedMarks(folder) as found:
        (mark,) = found
        mark_issued("worker", "gpu", folder)
        found.remove(mark)
        assert (folder / "worker").exists()
        (newer,) = found
        found.remove(newer)
        found.remove(newer)  # gone already
    assert newer.group == "gpu"
    assert not marks_pending(folder)


def test_a_name_with_a_slash_cannot_be_and_hidden_files_are_being_written(folder: Path) -> None:
    (folder / ".worker.tmp").write_text("workers")
    assert not marks_pending(folder)
    assert marks(folder) == []
    assert (folder / ".worker.tmp").exists()
