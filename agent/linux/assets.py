"""Content-addressed files: baked into the image, or fetched once into a cache and checked."""

import errno
import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from agent.linux.atomic import explained, replacing
from agent.linux.sandbox import Sandbox
from units.errors import Fatal, Refused

logger = logging.getLogger(__name__)

BAKED = "/opt/bootwright/assets"  # read-only, made with the image
FETCHED = "/var/lib/bootwright/assets"


# Key below the cluster's prefix, an empty seekable file, the signed size; returns the sha256 of what it wrote.
Download = Callable[[str, BinaryIO, int], str]


def asset_key(sha256: str) -> str:
    """The same below the bucket's prefix and below both directories here."""
    return f"sha256/{sha256[:2]}/{sha256}"


class LocalAssets:
    """Implements `units.host.Assets`. `download` fetches what is in neither directory.

    Paths are as the node sees them; `root` is a sandbox.
    """

    def __init__(
        self, download: Download, *, baked: str = BAKED, fetched: str = FETCHED, root: str | Path = "/"
    ) -> None:
        self._download = download
        self._baked = baked
        self._fetched = fetched
        self._sandbox = Sandbox(root)

    def obtain(self, sha256: str, size: int) -> str:
        """Refused `asset-digest-mismatch` if the store holds other bytes under this name; nothing of them stays."""
        key = asset_key(sha256)
        for path in (f"{self._baked}/{key}", f"{self._fetched}/{key}"):
            if self._holds(path, sha256, size):
                return path
        path = f"{self._fetched}/{key}"
        real = self._sandbox.resolve(path)
        with explained("write", path, size=size):
            real.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            _demand_space(real.parent, path, size)
            # A damaged file from before is replaced only when the new one is whole and right.
            with replacing(real, mode=0o644, ids=None) as file:
                found = self._download(f"assets/{key}", file, size)
                if found != sha256:
                    raise _mismatch(sha256, found)
        return path

    def _holds(self, path: str, sha256: str, size: int) -> bool:
        real = self._sandbox.resolve(path)
        with explained("read", path):
            try:
                with real.open("rb", buffering=0) as file:
                    found_size = os.fstat(file.fileno()).st_size
                    if found_size == size and hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                        return True
            except FileNotFoundError:
                return False
        logger.warning("%s is damaged (%d bytes of %d, or other content): fetching it anew", path, found_size, size)
        return False


def _mismatch(sha256: str, found: str) -> Refused:
    return Refused(
        "asset-digest-mismatch",
        f"the store holds content with sha256 {found} under assets/{asset_key(sha256)}",
        remedy="somebody changed the object, or an upload broke: `coordinator assets add` it again",
    )


def _demand_space(directory: Path, path: str, size: int) -> None:
    """Before the download, not 100 MB into it."""
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    if free < size:
        raise Fatal(
            "disk-full",
            f"cannot write {path}: {size} bytes needed, {free} free ({os.strerror(errno.ENOSPC)})",
            remedy=f"give the root volume more space, or free some: `du -xh {FETCHED} /var | sort -h | tail`",
        )
