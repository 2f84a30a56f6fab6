"""Packer's own build of packer/, in the lab: from a published image to an AMI, through nothing but EC2 and ssh.

    python -m tests.lab.packer [BASE]      builds the image of this checkout; prints its id and path

Debian's Packer is 1.6: it has the amazon-ebs builder in it, and knows neither the block that fetches plugins nor the
settings of newer builders, which packer/ marks (docs/image.md). Everything else it runs as it is.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cache, image, releases, stock, wheelhouse
from tests.lab.bases import BASES, DEBIAN_13, Base
from tests.lab.layers import note_use
from tests.lab.progress import step
from tests.lab.region.client import LabClient
from tests.lab.region.lab import Lab
from tests.lab.region.settings import RegionSettings
from tests.lab.run import CommandFailed, run

BUILD_SECONDS = 1800.0
KEPT = 2  # images, and those of the last hours, on which a lab may be up: 1.2 GB each
KEPT_SECONDS = 4 * 3600
NEWER = re.compile(r"^ *# --- Packer 1\.8 and newer.*?^ *# --- end ---\n", re.MULTILINE | re.DOTALL)
# As often as the lab changes; Packer's own default is every 15 s, for 80 times.
PATIENCE = {"AWS_POLL_DELAY_SECONDS": "2", "AWS_MAX_ATTEMPTS": "300", "CHECKPOINT_DISABLE": "1"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """said: all that Packer printed. ami: "" unless it has made one."""

    returncode: int
    said: str
    ami: str


def why_not() -> str:
    """Why no image can be built with Packer here; "" if one can."""
    if not shutil.which("packer"):
        return "no packer is installed"
    said = run(["packer", "version"])
    found = re.search(r"v1\.(\d+)\.", said)
    # From 1.10 on, no builder is in Packer itself, and fetching one needs the network.
    return "" if found and 6 <= int(found[1]) < 10 else f"{said.splitlines()[0]} has no amazon-ebs builder in it"


def template(target: Path, source: Path = image.PACKER) -> Path:
    """packer/ as Packer 1.6 can read it, in the new folder `target`."""
    shutil.copytree(source, target)
    (target / "plugins.pkr.hcl").unlink()
    for file in target.glob("*.pkr.hcl"):
        file.write_text(NEWER.sub("", file.read_text()))
    return target


def wheels(target: Path, base: Base = DEBIAN_13) -> Path:
    """The wheelhouse of this checkout in the new folder `target`."""
    shutil.copytree(wheelhouse.dependencies(image.debian_layer(base), base), target)
    wheelhouse.bootwright(target)
    return target


def bundle(target: Path, assets: Sequence[tuple[Path, str]]) -> Path:
    """What is to be baked, in the new folder `target`, as packer/'s variable `assets` wants it."""
    target.mkdir()
    lines = []
    for number, (path, sha256) in enumerate(assets):
        name = f"{number:02}-{path.name}"
        (target / name).symlink_to(path.resolve())
        lines.append(f"{sha256}  {name}\n")
    (target / "SHA256SUMS").write_text("".join(lines))
    return target


def pins(base: Base, scratch: Path) -> dict[str, str]:
    """Packer's variables for what the base needs pinned; their releases go to scratch/assets, where it looks."""
    variables = {}
    for one in releases.of_debian_13(scratch / "releases", base.pinned):
        (scratch / "assets" / one.path.name).symlink_to(one.path)
        sha256 = cache.sha256_of(one.path)
        variables[one.name.lower()] = f'{{version="{one.version}",sha256={{amd64="{sha256}"}}}}'
    return variables


def packer_build(lab: LabClient, folder: Path, variables: Mapping[str, str]) -> Outcome:
    """`packer build` of a template against the lab's EC2, from the image that the region was started with."""
    outputs = lab.outputs
    every = {
        "region": outputs["region"],
        "ec2_endpoint": lab.endpoint_url,
        "source_ami": outputs["image_id"],
        "subnet_id": next(iter(outputs["private_subnet_ids"].values())),
        "ssh_interface": "private_ip",
        "encrypt_boot": "false",  # the lab has no EBS to encrypt
        **variables,
    }
    with tempfile.TemporaryDirectory() as scratch:
        environment = {"PACKER_CACHE_DIR": scratch, "PACKER_CONFIG_DIR": scratch, **PATIENCE, **lab.environment()}
        done = subprocess.run(
            ["packer", "build", "-color=false", *_words(every), str(folder)],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **environment},
            timeout=BUILD_SECONDS,
        )
    made = re.findall(r"^[a-z0-9-]+: (ami-[0-9a-f]{17})$", done.stdout, re.MULTILINE)
    return Outcome(done.returncode, done.stdout, made[-1] if made else "")


def build(assets: Sequence[tuple[Path, str]] = (), base: Base = DEBIAN_13) -> image.Image:
    """The AMI that Packer makes of this checkout, with `assets` (file, sha256) baked in; cached by all its inputs.

    Runs a region of its own meanwhile. Raises CommandFailed with the end of what Packer said.
    """
    source = stock.stock(prepared=True, base=base)
    with cache.locked("packer-image"):
        record = cache.folder("packer-builds") / f"{_key(base, source, assets)}.json"
        if record.exists():
            known = json.loads(record.read_text())
            if Path(known["path"]).exists():
                note_use(Path(known["path"]))
                return image.Image(known["id"], Path(known["path"]))
        with step(f"building the image with Packer from {base.name}, on a machine of the lab"):
            made = _built(base, source, assets)
        record.write_text(json.dumps({"id": made.id, "path": str(made.path)}))
        _prune(made.path)
    return made


def _built(base: Base, source: image.Image, assets: Sequence[tuple[Path, str]]) -> image.Image:
    with tempfile.TemporaryDirectory(dir=cache.folder()) as scratch:
        folder = template(Path(scratch) / "packer")
        variables = {
            "base": base.name,
            "wheelhouse": str(wheels(Path(scratch) / "wheelhouse", base)),
            "assets": str(bundle(Path(scratch) / "assets", assets)),
            **pins(base, Path(scratch)),
        }
        with Lab(Path(scratch) / "lab", RegionSettings(image_id=source.id, balancer=False)) as lab:
            outcome = packer_build(lab, folder, variables)
            (cache.folder("logs") / "packer.log").write_text(outcome.said)
            if outcome.returncode or not outcome.ami:
                raise CommandFailed(f"packer build: exit code {outcome.returncode}\n{outcome.said[-4000:]}")
            path = cache.folder("packer-disks") / f"{outcome.ami}.img"
            lab.run.image(outcome.ami).rename(path)
    made = image.Image(outcome.ami, path)
    (cache.folder("packer-images") / f"{made.id}.json").write_text(json.dumps({"id": made.id, "path": str(path)}))
    return made


def _key(base: Base, source: image.Image, assets: Sequence[tuple[Path, str]]) -> str:
    code = (path for name in wheelhouse.DISTRIBUTION if (path := cache.CHECKOUT / name).exists())
    digests = sorted(sha256 for _, sha256 in assets)
    pinned = (image.packages_layer().key, *base.pinned) if base.pinned else ()
    return cache.digest(source.id, image.PACKER, wheelhouse.LOCK, *code, *pinned, *digests)[:16]


def _prune(newest: Path) -> None:
    disks = sorted(newest.parent.glob("ami-*.img"), key=lambda path: path.stat().st_atime, reverse=True)
    for old in disks[KEPT:]:
        if time.time() - old.stat().st_atime > KEPT_SECONDS:
            old.unlink()


def _words(variables: Mapping[str, str]) -> list[str]:
    return [word for name, value in variables.items() for word in ("-var", f"{name}={value}")]


def main() -> int:
    try:
        made = build(base=BASES[sys.argv[1]] if sys.argv[1:] else DEBIAN_13)
    except CommandFailed as error:
        sys.stderr.write(f"packer: {error}\n")
        return 1
    used = run(["du", "--block-size=M", "--summarize", str(made.path)]).split()[0]
    sys.stdout.write(f"{made.id} {made.path} ({used})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
