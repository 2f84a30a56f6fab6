"""Image archives as `docker save` and OCI tools make them, small enough for a test."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path
from typing import Any

_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _config(layer: bytes) -> bytes:
    return _json(
        {
            "architecture": _ARCHITECTURE,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    )


def docker_archive(path: Path, *references: str, content: bytes = b"hello\n") -> Path:
    layer = _tar({"hello": content})
    config = _config(layer)
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": list(references), "Layers": ["layer.tar"]}]
    path.write_bytes(_tar({name: config, "layer.tar": layer, "manifest.json": _json(manifest)}))
    return path


def oci_archive(path: Path, *references: str) -> Path:
    layer = _tar({"hello": b"hello\n"})
    config = _config(layer)
    blobs: dict[str, bytes] = {}

    def descriptor(kind: str, content: bytes, **more: Any) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content), **more}

    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
        }
    )
    index = {
        "schemaVersion": 2,
        "manifests": [
            descriptor(
                "application/vnd.oci.image.manifest.v1+json",
                manifest,
                annotations={"io.containerd.image.name": reference},
            )
            for reference in references
        ],
    }
    path.write_bytes(_tar({"oci-layout": _json({"imageLayoutVersion": "1.0.0"}), "index.json": _json(index), **blobs}))
    return path
