"""Release archives laid out as their publishers lay them out, made of Debian's programs: nobody else's can be had here.

What is in them: containerd's Makefile packs a folder bin/; containernetworking's scripts/release.sh packs `.` with two
texts beside the plugins; etcd's scripts/build-binary.sh a folder of the release's name, owned by whoever built it; runc
and kubelet are programs as they are.
"""

import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cache
from tests.lab.image import packages_layer
from tests.lab.layers import build

BUILDER = 528287  # owner of everything in etcd's archives: of its builder's machine
TEXT = b"not a program\n"


@dataclass(frozen=True, slots=True)
class Release:
    """`pin` as install.sh takes it, in the variable `name`."""

    name: str
    path: Path
    version: str

    @property
    def pin(self) -> str:
        return f"{self.version}:{cache.sha256_of(self.path)}"


# What Debian 13's programs say they are; cni and kubelet are not asked.
VERSIONS = {"CONTAINERD": "1.7.24", "RUNC": "1.1.15", "CNI": "1.1.1", "ETCD": "3.5.16", "KUBELET": "1.36.2"}


def of_debian_13(target: Path, names: Collection[str] = tuple(VERSIONS)) -> tuple[Release, ...]:
    """Those of `names`, in the new folder `target`. On Debian 12 runc does not run: it wants a newer C library."""
    target.mkdir(parents=True)
    (target / "SHA256SUMS").touch()  # as a build's `assets`: nothing of it goes into the store by itself
    if not names:
        return ()
    with mounted(build(packages_layer())) as root:
        return tuple(_release(name, root / "usr", target) for name in names)


def _release(name: str, usr: Path, target: Path) -> Release:
    version = VERSIONS[name]
    match name:
        case "CONTAINERD":
            made = Release(name, target / f"containerd-{version}-linux-amd64.tar.gz", version)
            _containerd(usr / "bin", made.path)
        case "CNI":
            made = Release(name, target / f"cni-plugins-linux-amd64-v{version}.tgz", version)
            _cni(sorted((usr / "lib/cni").iterdir()), made.path)
        case "ETCD":
            made = Release(name, target / f"etcd-v{version}-linux-amd64.tar.gz", version)
            _etcd(usr / "bin", made.path, f"etcd-v{version}-linux-amd64")
        case "RUNC":
            made = Release(name, target / "runc.amd64", version)
            shutil.copyfile(usr / "sbin/runc", made.path)
        case _:
            made = Release(name, target / "kubelet", version)
            shutil.copyfile(usr / "bin/ctr", made.path)  # a program; which one does not matter to the store
    return made


@contextmanager
def mounted(disk: Path) -> Iterator[Path]:
    """Its file system, to be looked at."""
    # noload: an image that others copy from must not change, not even by its journal.
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-o", "ro,loop,noload", str(disk), folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def _containerd(programs: Path, target: Path) -> None:
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        # As a build with umask 002 leaves it: unpacked over /usr, it would be /usr/bin's own mode.
        archive.addfile(_folder("bin/", 0o775))
        for name in ("containerd-shim-runc-v2", "containerd", "containerd-stress", "ctr"):
            # Debian leaves the stress test out; install.sh does, too.
            _add(archive, f"bin/{name}", programs / ("ctr" if name == "containerd-stress" else name))


def _cni(plugins: Iterable[Path], target: Path) -> None:
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        archive.addfile(_folder("./", 0o775))
        for plugin in plugins:
            _add(archive, f"./{plugin.name}", plugin)
        for name in ("LICENSE", "README.md"):
            _text(archive, f"./{name}", 0)


def _etcd(programs: Path, target: Path, folder: str) -> None:
    with tarfile.open(target, "w:gz", compresslevel=1) as archive:
        archive.addfile(_folder(f"{folder}/", 0o755, BUILDER))
        for name in ("README.md", "READMEv2-etcdctl.md", "README-etcdctl.md", "README-etcdutl.md"):
            _text(archive, f"{folder}/{name}", BUILDER)
        archive.addfile(_folder(f"{folder}/Documentation/", 0o755, BUILDER))
        _text(archive, f"{folder}/Documentation/README.md", BUILDER)
        for name in ("etcd", "etcdctl", "etcdutl"):
            # Debian 13 has no etcdutl yet: its etcdctl has all of its commands.
            source = programs / name
            _add(archive, f"{folder}/{name}", source if source.exists() else programs / "etcdctl", BUILDER)


def _folder(name: str, mode: int, owner: int = 0) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, owner, owner
    return entry


def _add(archive: tarfile.TarFile, name: str, source: Path, owner: int = 0) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.uid, entry.gid = source.stat().st_size, 0o755, owner, owner
    with source.open("rb") as file:
        archive.addfile(entry, file)


def _text(archive: tarfile.TarFile, name: str, owner: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.uid, entry.gid = len(TEXT), owner, owner
    archive.addfile(entry, io.BytesIO(TEXT))
