"""Content-addressed files: baked into the image, or fetched once into a cache and checked.

What a manifest names and this machine lacks is fetched all together, several at a time, when the first of it is
needed. A download that was cut goes on where it stood, also after a power cut: the part lies beside the cache, under
the digest that it is to have, and becomes an asset only when it has it.
"""

import errno
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from agent.linux.atomic import explained, opened_directory
from agent.linux.sandbox import Sandbox
from units.errors import BootwrightError, Fatal, Refused, Retryable
from units.manifest import Manifest

logger = logging.getLogger(__name__)

BAKED = "/opt/bootwright/assets"  # read-only, made with the image
FETCHED = "/var/lib/bootwright/assets"
AT_ONCE = 4  # connections; S3 gives each some 80 MB/s, and a node has two cores to sum up what comes


# Key below the cluster's prefix, a file with the beginning of the object or nothing, the signed size; returns the
# sha256 of all that the file then holds. Called by several threads.
Download = Callable[[str, IO[bytes], int], str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file that the manifest names."""

    sha256: str
    size: int


def wanted_of(manifest: Manifest) -> tuple[Wanted, ...]:
    assets = (Wanted(asset.sha256, asset.size) for asset in manifest.assets)
    return (*assets, *(Wanted(image.sha256, image.size) for image in manifest.images))


def asset_key(sha256: str) -> str:
    """The same below the bucket's prefix and below both directories here."""
    return f"sha256/{sha256[:2]}/{sha256}"


class LocalAssets:
    """Implements `units.host.Assets`. `download` fetches what is in neither directory.

    `wanted` is all that the manifest names. Paths are as the node sees them; `root` is a sandbox.
    """

    def __init__(
        self,
        download: Download,
        *,
        wanted: Sequence[Wanted] = (),
        baked: str = BAKED,
        fetched: str = FETCHED,
        root: str | Path = "/",
    ) -> None:
        self._download = download
        self._wanted = tuple(dict.fromkeys(wanted))
        self._baked = baked
        self._fetched = fetched
        self._sandbox = Sandbox(root)
        self._prefetched = False

    def obtain(self, sha256: str, size: int) -> str:
        """Refused `asset-digest-mismatch` if the store holds other bytes under this name; nothing of them stays."""
        found = self._local(sha256, size)
        if found:
            return found
        if not self._prefetched:
            self._prefetched = True
            self._fetch_others(Wanted(sha256, size))
        return self._fetch(Wanted(sha256, size))

    def _local(self, sha256: str, size: int) -> str | None:
        key = asset_key(sha256)
        paths = (f"{self._baked}/{key}", f"{self._fetched}/{key}")
        return next((path for path in paths if self._holds(path, sha256, size)), None)

    def _fetch_others(self, first: Wanted) -> None:
        """With the one that is needed now. What goes wrong with another is its own step's to say: that tries again."""
        others = [one for one in self._wanted if one != first and not self._lies_here(one)]
        self._sweep_parts({one.sha256 for one in (first, *others)})
        left, lock = list(others), threading.Lock()

        def work() -> None:
            while True:
                with lock:
                    if not left:
                        return
                    one = left.pop(0)
                try:
                    self._fetch(one)
                except BootwrightError as error:
                    logger.warning("%s not fetched ahead: %s", one.sha256[:12], error)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_ONCE - 1, len(others)))]
        for thread in threads:
            thread.start()
        try:
            self._fetch(first)
            work()
        finally:
            with lock:
                left.clear()
            for thread in threads:
                thread.join()

    def _lies_here(self, one: Wanted) -> bool:
        """By its size: its content is checked when its step comes."""
        for directory in (self._baked, self._fetched):
            try:
                if self._sandbox.resolve(f"{directory}/{asset_key(one.sha256)}").stat().st_size == one.size:
                    return True
            except OSError:
                continue
        return False

    def _fetch(self, one: Wanted) -> str:
        path = f"{self._fetched}/{asset_key(one.sha256)}"
        if self._holds(path, one.sha256, one.size):
            return path
        real, part = self._sandbox.resolve(path), self._part(one.sha256)
        with explained("write", path, size=one.size):
            for directory in (real.parent, part.parent):
                directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            try:
                self._complete(part, path, one)
            except Retryable:
                raise  # the next try goes on from here
            except (BootwrightError, OSError):
                part.unlink(missing_ok=True)
                raise
            _put_in_place(part, real)
        return path

    def _complete(self, part: Path, path: str, one: Wanted) -> None:
        """A part of before may have lost its end in a power cut: if it turns out wrong, all of it is fetched anew."""
        begun = part.stat().st_size if part.exists() else 0
        _demand_space(part.parent, path, one.size - min(begun, one.size))
        try:
            self._fill(part, one)
        except (Refused, Fatal):
            if not begun:
                raise
            part.unlink()
            _demand_space(part.parent, path, one.size)
            self._fill(part, one)

    def _fill(self, part: Path, one: Wanted) -> None:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "r+b") as file:
            found = self._download(f"assets/{asset_key(one.sha256)}", file, one.size)
            if found != one.sha256:
                raise _mismatch(one.sha256, found)
            file.flush()
            os.fsync(descriptor)

    def _part(self, sha256: str) -> Path:
        return self._sandbox.resolve(f"{self._fetched}/parts/{sha256}")

    def _sweep_parts(self, wanted: set[str]) -> None:
        """Of manifests that nobody wants any more."""
        parts = self._sandbox.resolve(f"{self._fetched}/parts")
        for path in parts.iterdir() if parts.is_dir() else ():
            if path.name not in wanted:
                path.unlink(missing_ok=True)

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


def _put_in_place(part: Path, real: Path) -> None:
    part.chmod(0o644)
    part.replace(real)
    with opened_directory(real.parent) as parent:
        os.fsync(parent)


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
