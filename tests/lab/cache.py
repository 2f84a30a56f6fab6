"""Where the lab keeps what is dear to make: whole or not there, under names that tell their inputs.

`$BOOTWRIGHT_CACHE`, by default /var/cache/bootwright. Everything in it can be deleted while no lab runs.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
_SKIPPED = {"__pycache__", ".mypy_cache", ".ruff_cache"}


def folder(*parts: str) -> Path:
    """The cache folder, or one inside it, made if it is missing."""
    path = Path(os.environ.get("BOOTWRIGHT_CACHE", "/var/cache/bootwright")).joinpath(*parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time; the lock goes away with the process that held it."""
    with (folder("locks") / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digest(*inputs: str | bytes | Path) -> str:
    """A name for what is made of these inputs: texts, and files or whole trees with their modes."""
    total = hashlib.sha256()
    for item in inputs:
        for piece in _pieces(item):
            total.update(len(piece).to_bytes(8, "big"))
            total.update(piece)
    return total.hexdigest()


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pieces(item: str | bytes | Path) -> Iterator[bytes]:
    if isinstance(item, str):
        yield item.encode()
    elif isinstance(item, bytes):
        yield item
    else:
        for path in _files(item):
            yield f"{path.relative_to(item.parent)} {path.lstat().st_mode & 0o777:o}".encode()
            yield str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()


def _files(root: Path) -> Iterable[Path]:
    if not root.is_dir():
        return [root]
    return sorted(
        path for path in root.rglob("*") if (path.is_symlink() or path.is_file()) and not _SKIPPED & set(path.parts)
    )
