"""etcd, etcdctl and etcdutl: Debian 13's, unpacked beside the machine's own packages.

Debian 12, on which the tests may run, has etcd 3.4, which no node runs. `$BOOTWRIGHT_ETCD_BIN` names a folder with
another version.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import urllib.request
from functools import cache as once
from pathlib import Path

import pytest

from tests.lab import cache

POOL = "http://deb.debian.org/debian/pool/main/e/etcd"
PACKAGES = {
    "etcd-server_3.5.16-4_amd64.deb": "0875921bb0d023f2af9b8e15cdfbe417a03e65731345fb832c40f9c2dd72967b",
    "etcd-client_3.5.16-4_amd64.deb": "7eb67e305ba2ce523a5a0b29bf88750ded3f724769c7111a83382b7909f9977b",
}
NAMES = ("etcd", "etcdctl", "etcdutl")


@once
def binaries() -> Path:
    """The folder; skips the test where it cannot be had."""
    if named := os.environ.get("BOOTWRIGHT_ETCD_BIN"):
        return Path(named)
    if platform.machine() != "x86_64":
        pytest.skip("set BOOTWRIGHT_ETCD_BIN to a folder with etcd 3.5 or newer for this architecture")
    folder = cache.folder("etcd") / "3.5.16-4"
    with cache.locked("etcd"):
        if not folder.exists():
            _unpack(folder)
    return folder


def _unpack(folder: Path) -> None:
    rough = folder.with_name(f"{folder.name}.{os.getpid()}")
    rough.mkdir()
    for name, sha256 in PACKAGES.items():
        subprocess.run(["dpkg-deb", "--extract", _package(name, sha256), rough / "x"], check=True)
    for name in NAMES:
        shutil.move(rough / "x/usr/bin" / name, rough / name)
    shutil.rmtree(rough / "x")
    rough.rename(folder)


def _package(name: str, sha256: str) -> Path:
    """From the packages of the lab's image if it was baked here, else from Debian."""
    path = cache.folder("apt") / name
    if not path.exists():
        with urllib.request.urlopen(f"{POOL}/{name}", timeout=120) as answer:
            path.write_bytes(answer.read())
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise RuntimeError(f"{path} is not Debian's {name}: delete it")
    return path
