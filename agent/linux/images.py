"""containerd's image store, through ctr: the namespace and the labels are the ones that its CRI plugin reads."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from agent.linux.run import Run, run
from units.errors import Fatal, Retryable

if TYPE_CHECKING:
    import tarfile

_QUERY = 30.0
_IMPORT = 600.0  # an archive of 100 MB on a cold EBS root volume
_INDEX_LIMIT = 4 * 1024 * 1024
# The second label keeps kubelet's garbage collection away; the first one is what the CRI plugin sets on a pull.
_LABELS = ("io.cri-containerd.image=managed", "io.cri-containerd.pinned=pinned")
_PINNED = 'labels."io.cri-containerd.pinned"==pinned'
_UNREACHABLE = ("failed to dial", "error while dialing", "connection refused")
_REFERENCE_KEYS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class ContainerdImages:
    """Implements `units.host.Images`. `address` is containerd's socket.

    An image is present when it is pinned too: the label is set last, so an interrupted load is done again. The list
    is asked for once and kept until the next load: nobody else imports while the agent runs.
    """

    def __init__(self, run: Run = run, *, address: str = "/run/containerd/containerd.sock") -> None:
        self._run = run
        self._ctr = ("ctr", "--address", address, "--connect-timeout", "3s", "--namespace", "k8s.io", "images")
        self._address = address
        self._pinned: frozenset[str] | None = None

    def present(self, reference: str) -> bool:
        if self._pinned is None:
            self._pinned = self._list(_PINNED)
        return reference in self._pinned

    def load(self, archive: str, reference: str) -> None:
        self._pinned = None
        self._command("import", archive, timeout=_IMPORT)
        if reference not in self._list():
            held = ", ".join(archive_references(archive)) or "no named image"
            raise Fatal(
                "image-not-in-archive",
                f"{archive} does not hold {reference}; it holds {held}",
                remedy="name the image in the spec as the archive does, or save it again under that name",
            )
        self._command("label", reference, *_LABELS, timeout=_QUERY)

    def _list(self, *filters: str) -> frozenset[str]:
        return frozenset(self._command("list", "--quiet", *filters, timeout=_QUERY).split())

    def _command(self, *arguments: str, timeout: float) -> str:
        ended = self._run([*self._ctr, *arguments], timeout=timeout, allowed=None)
        if ended.exit_code == 0:
            return ended.text
        said = ended.complaint()
        if any(sign in said for sign in _UNREACHABLE):
            raise Retryable(
                "containerd-unreachable",
                f"containerd does not answer on {self._address}: {said}",
                remedy="systemctl status containerd; journalctl -u containerd",
            )
        raise Fatal("image-failed", f"`ctr images {' '.join(arguments)}` ended with {ended.exit_code}: {said}")


def archive_references(archive: str) -> tuple[str, ...]:
    """The names in an OCI layout or `docker save` archive; for messages, so an unreadable one has none."""
    import tarfile

    try:
        with tarfile.open(archive) as tar:
            return tuple(dict.fromkeys(_names(tar)))
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError):
        return ()


def _names(tar: "tarfile.TarFile") -> Iterator[str]:
    for member in tar:
        if not member.isfile() or member.size > _INDEX_LIMIT or not (file := tar.extractfile(member)):
            continue
        if member.name == "index.json":
            for manifest in json.load(file)["manifests"]:
                annotations = manifest.get("annotations", {})
                yield from (annotations[key] for key in _REFERENCE_KEYS if key in annotations)
        elif member.name == "manifest.json":
            for image in json.load(file):
                yield from image["RepoTags"] or ()
