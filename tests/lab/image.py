"""The lab's machine image: Debian, then packer/install.sh step by step, then what only the lab's machines need.

    python -m tests.lab.image       bakes it and prints its id and path

An image's id is made of everything that went into it, as an AMI's id stands for its content: `ami-` and 17 hex digits.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cache, wheelhouse
from tests.lab.bases import DEBIAN_13, Base
from tests.lab.kernel import KEYRING, MIRROR, kernel
from tests.lab.layers import SCRIPTS, Layer, build, note_use
from tests.lab.run import CommandFailed, run
from tests.lab.ssh import Keys, keys

PACKER = cache.CHECKOUT / "packer"
OVERLAY = Path(__file__).parent / "rootfs"
CHROOT = SCRIPTS / "chroot.bash"
# This module's own, those of tests.lab.stock, and those that Packer built (tests.lab.packer).
RECORDS = ("images", "stock-images", "packer-images")


@dataclass(frozen=True, slots=True)
class Image:
    """A raw ext4 file system that machines boot through a copy-on-write file."""

    id: str
    path: Path


def bake(extra_assets: Sequence[tuple[Path, str]] = ()) -> Image:
    """The image of this checkout; seconds when only our own code changed, minutes the first time.

    extra_assets: files and their sha256, to lie under /opt/bootwright/assets/sha256/<hh>/<sha256>.
    Raises CommandFailed with the end of the log.
    """
    python = python_layer()
    with tempfile.TemporaryDirectory(dir=cache.folder()) as scratch:
        assets = Path(scratch) / "assets"
        assets.write_text("".join(f"{sha256} {path.resolve()}\n" for path, sha256 in extra_assets))
        layer = lab_layer(python, Path(scratch), assets, sorted(sha256 for _, sha256 in extra_assets))
        if not layer.path.exists():
            wheelhouse.bootwright(Path(scratch))
        path = build(layer)
    image = Image(id=f"ami-{layer.key[:17]}", path=path)
    (cache.folder("images") / f"{image.id}.json").write_text(json.dumps({"id": image.id, "path": str(path)}))
    return image


def find(image_id: str) -> Image:
    """The baked image of that id. Raises FileNotFoundError naming those there are."""
    records = {path.stem: path for name in RECORDS for path in cache.folder(name).glob("ami-*.json")}
    if image_id not in records:
        known = ", ".join(sorted(records)) or "none"
        raise FileNotFoundError(f"no image {image_id} in {cache.folder()}; baked here: {known}")
    path = Path(json.loads(records[image_id].read_text())["path"])
    if not path.exists():
        raise FileNotFoundError(f"image {image_id} was baked here, but {path} is gone; bake it again")
    note_use(path)  # a lab that launches for an hour does not bake, and others prune what nobody used
    return Image(image_id, path)


def debian_layer(base: Base = DEBIAN_13) -> Layer:
    uml = kernel()
    environment = {
        "SUITE": base.suite,
        "MIRROR": MIRROR,
        "KEYRING": str(KEYRING),
        "APT_CACHE": str(cache.folder("apt")),
        "MODULES": str(uml.modules),
    }
    inputs = (base.suite, MIRROR, uml.release, CHROOT)
    return Layer(f"{base.layers}debian", None, "debian.sh", environment, inputs)


def packages_layer(base: Base = DEBIAN_13) -> Layer:
    # Of what is pinned, the distribution's packages are left out; which release it is, a later step hears.
    pinned = " ".join(f"{name}=pinned:" for name in base.pinned)
    environment = {"PACKER": str(PACKER), "APT_CACHE": str(cache.folder("apt")), "PINNED": pinned}
    presets = PACKER / "rootfs/etc/systemd/system-preset"
    inputs = (CHROOT, PACKER / "install.sh", PACKER / "packages.txt", presets, *base.pinned)
    return Layer(f"{base.layers}packages", debian_layer(base), "packages.sh", environment, inputs)


def python_layer(base: Base = DEBIAN_13) -> Layer:
    packages = packages_layer(base)
    wheels = wheelhouse.dependencies(debian_layer(base), base)
    environment = {"PACKER": str(PACKER), "WHEELHOUSE": str(wheels)}
    inputs = (wheels / "requirements.txt", PACKER / "python.sh")
    return Layer(f"{base.layers}python", packages, "python.sh", environment, inputs)


def lab_layer(python: Layer, wheels: Path, assets: Path, asset_digests: Sequence[str]) -> Layer:
    """`wheels` gets the wheel of this checkout before the layer is built; its key is that of the sources."""
    pair: Keys = keys()
    environment = {
        "PACKER": str(PACKER),
        "WHEELHOUSE": str(wheels),
        "ASSETS": str(assets),
        "OVERLAY": str(OVERLAY),
        "SSH": str(pair.folder),
    }
    sources = (cache.CHECKOUT / name for name in wheelhouse.DISTRIBUTION)
    code = (path for path in sources if path.exists())
    inputs = (PACKER, OVERLAY, SCRIPTS / "dress.bash", pair.public, pair.host_public, *code)
    return Layer("lab", python, "lab.sh", environment, inputs=(*inputs, *asset_digests))


def main() -> int:
    try:
        image = bake()
    except CommandFailed as error:
        print(f"image: {error}", file=sys.stderr)
        return 1
    used = run(["du", "--block-size=M", "--summarize", str(image.path)]).split()[0]
    print(f"{image.id} {image.path} ({used})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
