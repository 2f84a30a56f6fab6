"""Container image archives made of a few files: what `docker save` would write, byte for byte the same every time."""

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ImageSource:
    reference: str
    files: Mapping[str, Path]  # path in the image -> file on this machine, all executable
    entrypoint: tuple[str, ...]
    labels: Mapping[str, str] = field(default_factory=dict)


def write_archive(source: ImageSource, destination: Path) -> Path:
    """One layer, uncompressed: containerd unpacks it without a decompressor in the way."""
    layer = destination.with_suffix(".layer")
    with tarfile.open(layer, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(source.files):
            _add(tar, name.lstrip("/"), source.files[name].read_bytes(), mode=0o755)
    layer_digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
                "Entrypoint": list(source.entrypoint),
                "Labels": dict(source.labels),
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
        },
        sort_keys=True,
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    layer_name = f"{layer_digest}/layer.tar"
    manifest = [{"Config": config_name, "RepoTags": [source.reference], "Layers": [layer_name]}]
    with tarfile.open(destination, "w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, config_name, config, mode=0o644)
        _add(tar, layer_name, layer.read_bytes(), mode=0o644)
        _add(tar, "manifest.json", json.dumps(manifest).encode(), mode=0o644)
    layer.unlink()
    return destination


def _add(tar: tarfile.TarFile, name: str, content: bytes, *, mode: int) -> None:
    entry = tarfile.TarInfo(name)  # mtime 0, uid 0: the same bytes in every run
    entry.size = len(content)
    entry.mode = mode
    tar.addfile(entry, io.BytesIO(content))
