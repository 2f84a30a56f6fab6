"""What is in the image: image.json for the agent, sbom.json (CycloneDX 1.5) for whoever has to answer for it.

inventory.py PREFIX              on the image, with its own python3; PREFIX is /opt/bootwright
inventory.py PREFIX --check      writes nothing; prints a line for every file that does not say what is there

Written again for the same content, a file stays as it is: it tells when that was first there.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

Component = dict[str, object]
Document = dict[str, Any]
PACKAGES = {"containerd": "containerd", "runc": "runc", "etcd": "etcd-server"}  # where no version is pinned
REPLACED = {"containerd": ("containerd",), "runc": ("runc",), "etcd": ("etcd-server", "etcd-client")}


def main() -> int:
    prefix = Path(sys.argv[1])
    image, bill = documents(prefix)
    written = {prefix / "image.json": image, prefix / "sbom.json": bill}
    for path, document in written.items():
        if without_times(read(path)) == without_times(document):
            continue
        if "--check" in sys.argv[2:]:
            sys.stdout.write(f"{path} does not say what is in the image: {difference(read(path), document)}\n")
        else:
            write(path, document)
    return 0


def documents(prefix: Path) -> tuple[Document, Document]:
    """What image.json and sbom.json have to say now."""
    system = system_packages()
    pins = {path.name: path.read_text().split() for path in (prefix / "pins").glob("*")}
    python = sorted((found.metadata["Name"], found.version) for found in distributions(path=site_packages(prefix)))
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    images = preloaded(prefix / "images.json")
    kernels = sorted(path.name for path in Path("/usr/lib/modules").glob("*"))
    image = {
        "built": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "base": f"{release['ID']}-{release.get('VERSION_ID', '')}".replace('"', ""),
        "bootwright": dict(python)["bootwright"],
        **{name: version for name in PACKAGES if (version := version_of(name, pins, system))},
        **{name: pins[name][0] for name in ("cni", "kubelet") if name in pins},
        **({"images": images} if images else {}),
        "kernel": kernels[-1] if kernels else None,
        "python": python_version(prefix / "venv"),
    }
    # A release's programs lie where those of the package would: what an image already had of it runs no more.
    replaced = {package for name in pins for package in REPLACED.get(name, ())}
    components = [
        *packages_of(str(image["base"]).split("-")[0], {k: v for k, v in system.items() if k not in replaced}),
        *(component("library", name, version, f"pkg:pypi/{name.lower()}@{version}") for name, version in python),
        *(released(name, version, sha256) for name, (version, sha256) in sorted(pins.items())),
        *assets(prefix / "assets" / "sha256"),
        *(container(**one) for one in images),
    ]
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": image["built"],
            "component": {"type": "operating-system", "name": "bootwright-node", "version": image["bootwright"]},
        },
        "components": components,
    }
    return image, bill


def version_of(name: str, pins: "dict[str, list[str]]", system: "dict[str, str]") -> "str | None":
    """None: a worker of a stock image may have no etcd. An image without one does not pass validate.sh."""
    return pins[name][0] if name in pins else system.get(PACKAGES[name])


def python_version(venv: Path) -> str:
    """Of the agent's Python: on Amazon Linux it is another one than the python3 that runs this."""
    settings = (venv / "pyvenv.cfg").read_text()
    return re.search(r"^version *= *(\S+)", settings, re.MULTILINE)[1]


def read(path: Path) -> Document:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def without_times(document: Document) -> Document:
    metadata = {**document.get("metadata", {}), "timestamp": ""}
    return {**document, "built": "", "metadata": metadata}


def difference(found: Document, wanted: Document) -> str:
    """In a few words: the first thing that differs."""
    if not found:
        return "it is missing, or no JSON"
    if "components" not in wanted:
        names = sorted(name for name in {**found, **wanted} if name != "built" and found.get(name) != wanted.get(name))
        return f"{names[0]} is {found.get(names[0])}, not {wanted.get(names[0])}"
    there = {str(one.get("purl")) for one in found.get("components", [])}
    due = {str(one["purl"]) for one in wanted["components"]}
    if there != due:
        return f"without {min(due - there)}" if due - there else f"{min(there - due)} is not there"
    return "another head or order than inventory.py gives it"


def system_packages() -> dict[str, str]:
    if shutil.which("dpkg-query"):
        ask = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package} ${Version}\n"]
    else:
        ask = ["rpm", "--query", "--all", "--queryformat", "installed %{NAME} %{VERSION}-%{RELEASE}\n"]
    said = subprocess.run(ask, check=True, capture_output=True, text=True, timeout=60).stdout
    rows = (line.split() for line in said.splitlines())
    return {name: version for state, name, version in rows if state == "installed"}


def packages_of(distribution: str, system: dict[str, str]) -> Iterator[Component]:
    kind = "rpm" if distribution == "amzn" else "deb"
    for name, version in sorted(system.items()):
        yield component("library", name, version, f"pkg:{kind}/{distribution}/{name}@{version}")


def released(name: str, version: str, sha256: str) -> Component:
    # The digest is that of the release file which was unpacked.
    return component("application", name, version, f"pkg:generic/{name}@{version}?checksum=sha256:{sha256}")


def assets(store: Path) -> Iterator[Component]:
    for path in sorted(store.glob("??/*")):
        sha256 = sha256_of(path)  # the name is a promise that validate.sh holds it to
        found = component("file", f"asset {sha256[:16]}", "", f"pkg:generic/asset?checksum=sha256:{sha256}")
        yield {**found, "hashes": [{"alg": "SHA-256", "content": sha256}]}


def preloaded(record: Path) -> list[dict[str, str]]:
    """As agent.preload wrote it, if an asset was an archive of images: reference, target, archive of each."""
    return json.loads(record.read_text()) if record.exists() else []


def container(reference: str, target: str, archive: str) -> Component:
    repository, _, tag = reference.partition("@")[0].rpartition(":")
    name = repository.rpartition("/")[2].lower()
    of = f"repository_url={repository}&tag={tag}&checksum=sha256:{archive}"
    found = component("container", reference, tag, f"pkg:oci/{name}@{target.replace(':', '%3A')}?{of}")
    return {**found, "hashes": [{"alg": "SHA-256", "content": target.partition(":")[2]}]}


def sha256_of(path: Path) -> str:
    total = hashlib.sha256()  # Amazon Linux' own Python is 3.9: no hashlib.file_digest
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            total.update(piece)
    return total.hexdigest()


def component(kind: str, name: str, version: str, purl: str) -> Component:
    return {"type": kind, "name": name, "version": version, "purl": purl.replace("+", "%2B").replace("~", "%7E")}


def site_packages(prefix: Path) -> list[str]:
    return [str(path) for path in prefix.glob("venv/lib/python3*/site-packages")]


def write(path: Path, document: object) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(document, indent=1) + "\n")
    partial.rename(path)


if __name__ == "__main__":
    sys.exit(main())
