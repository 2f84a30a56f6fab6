"""Content-addressed files: nothing but the signed bytes is ever handed out."""

import errno
import hashlib
import logging
import os
import threading
from pathlib import Path
from typing import IO

import pytest

from agent.linux.assets import AT_ONCE, LocalAssets, Wanted, asset_key
from units.errors import Fatal, Refused, Retryable

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BAKED, FETCHED = "opt/bootwright/assets", "var/lib/bootwright/assets"


class StoreDouble:
    """Serves what it was given, as `S3.get_to_file` does, and goes on with what the file holds.

    `cut`: so many bytes come, then `error`.
    """

    def __init__(self, content: bytes = CONTENT, error: Exception | None = None, cut: int | None = None) -> None:
        self.content = content
        self.error = error
        self.cut = cut
        self.asked: list[tuple[str, int]] = []
        self.sent = 0

    def __call__(self, key: str, file: IO[bytes], size: int) -> str:
        self.asked.append((key, size))
        file.seek(0)
        begun = len(file.read())
        rest = self.content[begun : self.cut]
        self.sent += len(rest)
        file.write(rest)
        if self.error:
            raise self.error
        file.seek(0)
        return hashlib.sha256(file.read()).hexdigest()


def put(root: Path, directory: str, content: bytes) -> Path:
    path = root / directory / asset_key(SHA256)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def leftovers(root: Path) -> list[str]:
    directory = root / FETCHED / "sha256" / SHA256[:2]
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def parts(root: Path) -> list[str]:
    directory = root / FETCHED / "parts"
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def leave_part(root: Path, sha256: str, content: bytes) -> None:
    path = root / FETCHED / "parts" / sha256
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def test_a_baked_asset_is_used_where_it_lies(tmp_path: Path) -> None:
    put(tmp_path, BAKED, CONTENT)
    store = StoreDouble()
    assert LocalAssets(store, root=tmp_path).obtain(SHA256, len(CONTENT)) == f"/{BAKED}/{asset_key(SHA256)}"
    assert store.asked == []


def test_a_missing_asset_is_fetched_once(tmp_path: Path) -> None:
    store = StoreDouble()
    assets = LocalAssets(store, root=tmp_path)
    for _ in range(2):
        path = assets.obtain(SHA256, len(CONTENT))
        assert path == f"/{FETCHED}/{asset_key(SHA256)}"
        assert (tmp_path / path.lstrip("/")).read_bytes() == CONTENT
    assert store.asked == [(f"assets/sha256/{SHA256[:2]}/{SHA256}", len(CONTENT))]


@pytest.mark.parametrize(
    "content",
    [CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), CONTENT[:-1], b"", CONTENT + b"x"],
    ids=["a flipped bit", "short", "empty", "long"],
)
def test_other_bytes_than_the_signed_ones_are_refused_and_not_kept(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Refused, match=hashlib.sha256(content).hexdigest()) as refused:
        LocalAssets(StoreDouble(content), root=tmp_path).obtain(SHA256, len(CONTENT))
    assert refused.value.code == "asset-digest-mismatch"
    assert leftovers(tmp_path) == []
    assert LocalAssets(StoreDouble(), root=tmp_path).obtain(SHA256, len(CONTENT))


@pytest.mark.parametrize("damage", [CONTENT[:-1], b"", CONTENT[:-1] + b"\0"], ids=["short", "empty", "changed"])
@pytest.mark.parametrize("directory", [BAKED, FETCHED])
def test_a_damaged_local_copy_is_said_and_fetched_anew(
    tmp_path: Path, directory: str, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, directory, damage)
    store = StoreDouble()
    with caplog.at_level(logging.WARNING):
        path = LocalAssets(store, root=tmp_path).obtain(SHA256, len(CONTENT))
    assert "is damaged" in caplog.text
    assert (tmp_path / path.lstrip("/")).read_bytes() == CONTENT
    assert len(store.asked) == 1


def test_a_download_that_breaks_goes_on_where_it_stood(tmp_path: Path) -> None:
    broken = StoreDouble(error=Retryable("s3-unreachable", "connection reset"), cut=200_000)
    with pytest.raises(Retryable, match="connection reset"):
        LocalAssets(broken, root=tmp_path).obtain(SHA256, len(CONTENT))
    assert leftovers(tmp_path) == []  # a part is no asset
    store = StoreDouble()
    path = LocalAssets(store, root=tmp_path).obtain(SHA256, len(CONTENT))  # the agent of the next boot
    assert (tmp_path / path.lstrip("/")).read_bytes() == CONTENT
    assert store.sent == len(CONTENT) - 200_000
    assert parts(tmp_path) == []


@pytest.mark.parametrize("lost", [b"\0" * 5000, CONTENT[:4000] + b"\0" * 1000], ids=["all of it", "its end"])
def test_a_part_that_a_power_cut_has_damaged_is_fetched_anew(tmp_path: Path, lost: bytes) -> None:
    leave_part(tmp_path, SHA256, lost)
    store = StoreDouble()
    path = LocalAssets(store, root=tmp_path).obtain(SHA256, len(CONTENT))
    assert (tmp_path / path.lstrip("/")).read_bytes() == CONTENT
    assert len(store.asked) == 2


def test_wrong_bytes_are_refused_also_behind_a_part_and_nothing_of_them_stays(tmp_path: Path) -> None:
    leave_part(tmp_path, SHA256, CONTENT[:1000])
    with pytest.raises(Refused) as refused:
        LocalAssets(StoreDouble(os.urandom(len(CONTENT))), root=tmp_path).obtain(SHA256, len(CONTENT))
    assert refused.value.code == "asset-digest-mismatch"
    assert leftovers(tmp_path) == parts(tmp_path) == []


def test_a_disk_that_fills_up_on_the_way_is_named_and_gets_its_space_back(tmp_path: Path) -> None:
    full = StoreDouble(error=OSError(errno.ENOSPC, "No space left on device"), cut=1000)
    with pytest.raises(Fatal, match=rf"{SHA256} \({len(CONTENT)} bytes needed\): No space left") as refused:
        LocalAssets(full, root=tmp_path).obtain(SHA256, len(CONTENT))
    assert refused.value.code == "disk-full"
    assert parts(tmp_path) == []


def test_an_asset_larger_than_the_disk_is_fatal_before_the_download(tmp_path: Path) -> None:
    store = StoreDouble()
    with pytest.raises(Fatal, match=rf"{SHA256}: {10**18} bytes needed, \d+ free") as full:
        LocalAssets(store, root=tmp_path).obtain(SHA256, 10**18)
    assert full.value.code == "disk-full"
    assert store.asked == []


class CrowdDouble(StoreDouble):
    """Holds every download until `AT_ONCE` are under way: with fewer the barrier breaks, and with more too."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        super().__init__()
        self.contents = contents
        self.together = threading.Barrier(AT_ONCE)
        self.lock = threading.Lock()
        self.running = self.most = 0

    def __call__(self, key: str, file: IO[bytes], size: int) -> str:
        with self.lock:
            self.asked.append((key, size))
            self.running += 1
            self.most = max(self.most, self.running)
        self.together.wait(60)
        content = self.contents[key.rpartition("/")[2]]
        file.write(content)
        with self.lock:
            self.running -= 1
        return hashlib.sha256(content).hexdigest()


def test_what_is_missing_is_fetched_several_at_a_time_and_no_more(tmp_path: Path) -> None:
    contents = {hashlib.sha256(data).hexdigest(): data for data in (os.urandom(1000) for _ in range(2 * AT_ONCE))}
    store = CrowdDouble(contents)
    wanted = [Wanted(name, 1000) for name in contents]
    assets = LocalAssets(store, wanted=wanted, root=tmp_path)
    first, *others = contents
    assets.obtain(first, 1000)
    assert len(store.asked) == len(contents)
    assert store.most == AT_ONCE
    for name in others:
        assert (tmp_path / assets.obtain(name, 1000).lstrip("/")).read_bytes() == contents[name]
    assert len(store.asked) == len(contents)  # each but once


def test_what_is_baked_is_not_fetched_ahead(tmp_path: Path) -> None:
    put(tmp_path, BAKED, CONTENT)
    other = os.urandom(10)
    name = hashlib.sha256(other).hexdigest()
    store = StoreDouble(other)
    LocalAssets(store, wanted=[Wanted(SHA256, len(CONTENT)), Wanted(name, 10)], root=tmp_path).obtain(name, 10)
    assert store.asked == [(f"assets/{asset_key(name)}", 10)]


def test_another_that_cannot_be_had_fails_at_its_own_step(tmp_path: Path) -> None:
    missing = hashlib.sha256(b"missing").hexdigest()
    store = StoreDouble()
    assets = LocalAssets(store, wanted=[Wanted(missing, 7), Wanted(SHA256, len(CONTENT))], root=tmp_path)
    assert assets.obtain(SHA256, len(CONTENT))
    with pytest.raises(Refused, match="the store holds content"):
        assets.obtain(missing, 7)


def test_parts_of_what_nobody_wants_any_more_are_swept(tmp_path: Path) -> None:
    leave_part(tmp_path, "0" * 64, b"of last year's kubelet")
    LocalAssets(StoreDouble(), root=tmp_path).obtain(SHA256, len(CONTENT))
    assert parts(tmp_path) == []
