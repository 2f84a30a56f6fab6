"""Release archives laid out as their publishers lay them out, made of Debian's programs: nobody else's can be had here.

What is in them: containerd's Makefile packs a folder bin/; containernetworking's scripts/release.sh packs `.` with two
texts beside the plugins; etcd's scripts/build-binary.sh a folder of the release's name, owned by whoever built it; runc
and kubelet are programs as they are.
"""

import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cache

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


def releases(programs: Path, target: Path, versions: Mapping[str, str]) -> tuple[Release, ...]:
    """All five in the new folder `target`. programs: a root file system that has them; versions: what they say."""
    target.mkdir()
    containerd, cni, etcd = (versions[name] for name in ("containerd", "cni", "etcd"))
    made = (
        Release("CONTAINERD", target / f"containerd-{containerd}-linux-amd64.tar.gz", containerd),
        Release("RUNC", target / "runc.amd64", versions["runc"]),
        Release("CNI", target / f"cni-plugins-linux-amd64-v{cni}.tgz", cni),
        Release("ETCD", target / f"etcd-v{etcd}-linux-amd64.tar.gz", etcd),
        Release("KUBELET", target / "kubelet", versions["kubelet"]),
    )
    usr = programs / "usr"
    _containerd(usr / "bin", made[0].path)
    made[1].path.write_bytes((usr / "sbin/runc").read_bytes())
    _cni(sorted((usr / "lib/cni").iterdir()), made[2].path)
    _etcd(usr / "bin", made[3].path, f"etcd-v{etcd}-linux-amd64")
    made[4].path.write_bytes((usr / "bin/ctr").read_bytes())  # a program; which one does not matter to the store
    return made


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
