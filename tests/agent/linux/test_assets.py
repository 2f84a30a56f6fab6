"""Content-addressed files: nothing but the signed bytes is ever handed out."""

import hashlib
import logging
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from agent.linux.assets import LocalAssets, asset_key
from units.errors import Fatal, Refused, Retryable

CONTENT = os.urandom(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
BAKED, FETCHED = "opt/bootwright/assets", "var/lib/bootwright/assets"


class StoreDouble:
    """Serves what it was given, as `agent.aws.s3` does, and keeps what it was asked for."""

    def __init__(self, content: bytes = CONTENT, error: Exception | None = None) -> None:
        self.content = content
        self.error = error
        self.asked: list[tuple[str, int]] = []

    def __call__(self, key: str, file: BinaryIO, size: int) -> str:
        self.asked.append((key, size))
        file.write(b"the half of an answer that broke off")
        file.seek(0)
        file.truncate()
        file.write(self.content)
        if self.error:
            raise self.error
        return hashlib.sha256(self.content).hexdigest()


def put(root: Path, directory: str, content: bytes) -> Path:
    path = root / directory / asset_key(SHA256)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def leftovers(root: Path) -> list[str]:
    directory = root / FETCHED / "sha256" / SHA256[:2]
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


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


def test_a_download_that_breaks_leaves_nothing_and_its_error_is_kept(tmp_path: Path) -> None:
    broken = StoreDouble(CONTENT[:5000], Retryable("s3-unreachable", "connection reset"))
    with pytest.raises(Retryable, match="connection reset"):
        LocalAssets(broken, root=tmp_path).obtain(SHA256, len(CONTENT))
    assert leftovers(tmp_path) == []


def test_an_asset_larger_than_the_disk_is_fatal_before_the_download(tmp_path: Path) -> None:
    store = StoreDouble()
    with pytest.raises(Fatal, match=rf"{SHA256}: {10**18} bytes needed, \d+ free") as full:
        LocalAssets(store, root=tmp_path).obtain(SHA256, 10**18)
    assert full.value.code == "disk-full"
    assert store.asked == []


def test_a_half_written_copy_of_a_killed_agent_is_swept(tmp_path: Path) -> None:
    stale = tmp_path / FETCHED / "sha256" / SHA256[:2] / f".{SHA256}.tmp-0123456789abcdef"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(CONTENT[:1000])
    LocalAssets(StoreDouble(), root=tmp_path).obtain(SHA256, len(CONTENT))
    assert leftovers(tmp_path) == [SHA256]
