"""The distributions that images are made of here, as packer/'s variable `base` names them.

Every layer, wheelhouse and AMI of the lab belongs to one of these; DEBIAN_13 is what the lab's tests run on.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Base:
    name: str
    suite: str
    python: str  # the version of its python3, as pip names it
    glibc: int  # minor version of its C library, the newest for which a wheel may have been built
    pinned: tuple[str, ...] = ()  # too old in its packages for a node: releases take their place (packer/install.sh)
    layers: str = ""  # what the names of its layers begin with: the cache tells layers apart by name

    @property
    def platforms(self) -> tuple[str, ...]:
        """pip takes each of these as exactly that tag, so all that wheels are commonly built for are named."""
        minors = (minor for minor in (39, 34, 31, 28, 24, 17, 12, 5) if minor <= self.glibc)
        old = ("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64")
        return (*(f"manylinux_2_{minor}_x86_64" for minor in minors), *old)


DEBIAN_13 = Base("debian-13", "trixie", "3.13", 41)
DEBIAN_12 = Base("debian-12", "bookworm", "3.11", 36, ("CONTAINERD", "ETCD"), "bookworm-")
BASES = {base.name: base for base in (DEBIAN_13, DEBIAN_12)}
