"""Provide: the files that the demo and the lab tests upload with `coordinator assets add`."""

import json
import os
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.cache import locked
from tests.lab.kubernetes.archives import ImageSource, write_archive
from units.kubelet_fields import kubelet_fields

HERE = Path(__file__).parent
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
KUBE_PROXY = "kube-proxy"
PAUSE = "registry.k8s.io/pause:3.10.2"
DOUBLE_VERSION = "1.36.2"
BUSYBOX = Path("/bin/busybox")  # Debian's busybox-static: pause and doubles must run without libraries

# Real pause sleeps until it is told to stop; so does this.
_PAUSE_SCRIPT = "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done"


@dataclass(frozen=True, slots=True)
class Provided:
    real: bool
    version: str  # of Kubernetes
    binaries: tuple[tuple[str, Path, str], ...]  # asset name, file, path on the node
    images: tuple[tuple[str, Path], ...]  # reference, archive
    kubectl: Path | None  # on this machine
    kube_proxy: bool  # whether nodes can run one


def provide(folder: Path) -> Provided:
    """From KUBERNETES_BIN_DIR if it is set, else the doubles; archives are written into `folder` once."""
    folder.mkdir(parents=True, exist_ok=True)
    given = os.environ.get("KUBERNETES_BIN_DIR")
    with locked("kubernetes"):  # two labs that begin at once write the same files
        return _real(Path(given), folder) if given else _doubles(folder)


def _real(binaries: Path, folder: Path) -> Provided:
    missing = [name for name in ("kubelet", *COMPONENTS) if not (binaries / name).is_file()]
    if missing:
        raise SystemExit(f"KUBERNETES_BIN_DIR={binaries} lacks {', '.join(missing)}")
    said = subprocess.run([binaries / "kubelet", "--version"], check=True, capture_output=True, text=True, timeout=30)
    version = said.stdout.split()[-1].removeprefix("v").partition("-")[0]
    images = [
        _archive(
            ImageSource(f"registry.k8s.io/{name}:v{version}", {f"/usr/local/bin/{name}": binaries / name}, (name,)),
            folder,
            stamp=str(int((binaries / name).stat().st_mtime)),
        )
        for name in COMPONENTS
    ]
    kubectl = binaries / "kubectl"
    assets = [("kubelet", binaries / "kubelet", "/usr/local/bin/kubelet")]
    if kubectl.is_file():
        assets.append(("kubectl", kubectl, "/usr/local/bin/kubectl"))
    return Provided(
        real=True,
        version=version,
        binaries=tuple(assets),
        images=(*images, _pause(folder)),
        kubectl=kubectl if kubectl.is_file() else None,
        kube_proxy=False,  # the lab's kernel has neither nftables nor iptables
    )


def _doubles(folder: Path) -> Provided:
    labels = {"io.bootwright.double": "stands in for the real image and runs nothing"}
    images = [
        _archive(
            ImageSource(
                f"registry.k8s.io/{name}:v{DOUBLE_VERSION}",
                {f"/usr/local/bin/{name}": BUSYBOX},
                ("/bin/false",),
                labels,
            ),
            folder,
            stamp="double",
        )
        for name in (*COMPONENTS, KUBE_PROXY)
    ]
    kubelet = _pack_doubles(folder / "kubelet-double")
    return Provided(
        real=False,
        version=DOUBLE_VERSION,
        binaries=(("kubelet", kubelet, "/usr/local/bin/kubelet"),),
        images=(*images, _pause(folder)),
        kubectl=None,
        kube_proxy=True,  # runs nothing, but its static pod is judged
    )


def _pause(folder: Path) -> tuple[str, Path]:
    source = ImageSource(PAUSE, {"/bin/busybox": BUSYBOX}, ("/bin/busybox", "sh", "-c", _PAUSE_SCRIPT))
    return _archive(source, folder, stamp="busybox")


def _archive(source: ImageSource, folder: Path, *, stamp: str) -> tuple[str, Path]:
    name = source.reference.replace("/", "_").replace(":", "_")
    path = folder / f"{name}-{stamp}.tar"
    if not path.exists():
        temporary = path.with_suffix(".partial")
        write_archive(source, temporary).replace(path)
    return source.reference, path


def _pack_doubles(path: Path) -> Path:
    """A zip archive that Python runs, with fixed times: the same content is the same sha256."""
    minor = int(DOUBLE_VERSION.split(".")[1])
    content = {
        "__main__.py": b"import sys\n\nfrom doubles.main import main\n\nsys.exit(main())\n",
        **{f"doubles/{source.name}": source.read_bytes() for source in sorted((HERE / "doubles").glob("*.py"))},
        "pod-schema.json": json.dumps(_pod_schema(), sort_keys=True).encode(),
        "kubelet-fields.json": json.dumps(sorted(kubelet_fields(minor))).encode(),
    }
    temporary = path.with_suffix(".partial")
    with temporary.open("wb") as file:
        file.write(b"#!/opt/bootwright/venv/bin/python -I\n")
        with zipfile.ZipFile(file, "w") as archive:
            for name, data in content.items():
                archive.writestr(zipfile.ZipInfo(name), data)
    temporary.chmod(0o755)
    temporary.replace(path)
    return path


def _pod_schema() -> Any:
    """The strict schema of a Pod with every reference put in place."""
    import kubernetes_validate

    root = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    minor = ".".join(DOUBLE_VERSION.split(".")[:2])
    folder = max(root.glob(f"v{minor}.*-local-strict"))
    definitions = json.loads((folder / "_definitions.json").read_text())["$defs"]
    pod = json.loads((folder / "pod-v1.json").read_text())
    return _resolved(pod, definitions, ())


def _resolved(schema: Any, definitions: dict[str, Any], above: tuple[str, ...]) -> Any:
    if isinstance(schema, list):
        return [_resolved(item, definitions, above) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        # A schema that contains itself (JSONSchemaProps) allows anything one level down: static pods have none.
        return {} if name in above else _resolved(definitions[name], definitions, (*above, name))
    return {key: _resolved(value, definitions, above) for key, value in schema.items() if key != "description"}
