"""The lab's image as a distribution publishes one: Debian with cloud-init, sudo and sshd, and nothing of bootwright.

    python -m tests.lab.stock [--prepared] [BASE]      bakes it and prints its id and path

What Packer starts from, and what a node of a stock image boots. `prepared` has the Debian packages of
packer/install.sh's first step in it: the lab's machines have no package mirror.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from tests.lab import cache, image
from tests.lab.bases import BASES, DEBIAN_13, Base
from tests.lab.layers import SCRIPTS, Layer, build
from tests.lab.ssh import keys

OVERLAY = Path(__file__).parent / "rootfs-stock"


def stock(*, prepared: bool = False, base: Base = DEBIAN_13) -> image.Image:
    """The image, baked now if the cache has none. Raises CommandFailed."""
    layer = stock_layer(prepared=prepared, base=base)
    found = image.Image(id=f"ami-{layer.key[:17]}", path=build(layer))
    record = cache.folder("stock-images") / f"{found.id}.json"
    record.write_text(json.dumps({"id": found.id, "path": str(found.path)}))
    return found


def stock_layer(*, prepared: bool, base: Base = DEBIAN_13) -> Layer:
    pair = keys()
    environment = {
        "APT_CACHE": str(cache.folder("apt")),
        "OVERLAY": str(image.OVERLAY),
        "STOCK": str(OVERLAY),
        "SSH": str(pair.folder),
    }
    inputs = (image.CHROOT, SCRIPTS / "dress.bash", image.OVERLAY, OVERLAY, pair.public, pair.host_public)
    layer = Layer(f"{base.layers}stock", image.debian_layer(base), "stock.sh", environment, inputs)
    return replace(layer, name=f"{base.layers}prepared", parent=image.packages_layer(base)) if prepared else layer


def main() -> int:
    (base,) = [BASES[word] for word in sys.argv[1:] if word in BASES] or [DEBIAN_13]
    found = stock(prepared="--prepared" in sys.argv[1:], base=base)
    print(f"{found.id} {found.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
