"""containerd's image store, through ctr: the namespace and the labels are the ones that its CRI plugin reads."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from agent.linux.run import Run, run
from units.errors import Fatal, Retryable
from units.host import HeldImage

if TYPE_CHECKING:
    import tarfile

_QUERY = 30.0
_IMPORT = 600.0  # an archive of 100 MB on a cold EBS root volume
_INDEX_LIMIT = 4 * 1024 * 1024
# The second label keeps kubelet's garbage collection away; the first one is what the CRI plugin sets on a pull.
_LABELS = ("io.cri-containerd.image=managed", "io.cri-containerd.pinned=pinned")
_PINNED = 'labels."io.cri-containerd.pinned"==pinned'
# ARCHIVE@TARGET. Both, because a pull or a tag moves the name to another target and leaves our label where it is.
_ORIGIN = "io.bootwright.origin"
_ORIGIN_SAYS = re.compile(rf"(?<=[\s,]){re.escape(_ORIGIN)}=([0-9a-f]{{64}})@(sha256:[0-9a-f]{{64}})(?:,|\s|$)")
_TARGET = re.compile(r"sha256:[0-9a-f]{64}")
_UNREACHABLE = ("failed to dial", "error while dialing", "connection refused")
_REFERENCE_KEYS = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


class ContainerdImages:
    """Implements `units.host.Images`. `address` is containerd's socket.

    An image is held when it is pinned too: that label is set last, so an interrupted load is done again. The list
    is asked for once and kept until the next load: nobody else imports while the agent runs.
    """

    def __init__(self, run: Run = run, *, address: str = "/run/containerd/containerd.sock") -> None:
        self._run = run
        self._ctr = ("ctr", "--address", address, "--connect-timeout", "3s", "--namespace", "k8s.io", "images")
        self._address = address
        self._pinned: Mapping[str, HeldImage] | None = None

    def held(self, reference: str) -> HeldImage | None:
        return self.all_held().get(reference)

    def all_held(self) -> Mapping[str, HeldImage]:
        if self._pinned is None:
            self._pinned = self._list(_PINNED)
        return self._pinned

    def load(self, archive: str, sha256: str, reference: str) -> None:
        found = self._import(archive).get(reference)
        if found is None:
            names = ", ".join(archive_references(archive)) or "no named image"
            raise Fatal(
                "image-not-in-archive",
                f"{archive} does not hold {reference}; it holds {names}",
                remedy="name the image in the spec as the archive does, or save it again under that name",
            )
        self._pin(reference, found.target, sha256)

    def load_all(self, archive: str, sha256: str) -> Mapping[str, HeldImage]:
        """Every image of the archive under its own name, as `load` does it with one; what was new about the store."""
        before = self._list()
        new = {name: found for name, found in self._import(archive).items() if before.get(name) != found}
        for reference, found in new.items():
            self._pin(reference, found.target, sha256)
        return {reference: HeldImage(found.target, sha256) for reference, found in new.items()}

    def complete(self) -> frozenset[str]:
        """Names of images of which all content is there, and unpacked as well."""
        lines = (line.split() for line in self._command("check", timeout=_IMPORT).splitlines())
        return frozenset(words[0] for words in lines if "complete" in words and words[-1] == "true")

    def _import(self, archive: str) -> Mapping[str, HeldImage]:
        self._pinned = None
        self._command("import", archive, timeout=_IMPORT)
        return self._list()

    def _pin(self, reference: str, target: str, sha256: str) -> None:
        self._command("label", reference, *_LABELS, f"{_ORIGIN}={sha256}@{target}", timeout=_QUERY)

    def _list(self, *filters: str) -> Mapping[str, HeldImage]:
        lines = self._command("list", *filters, timeout=_QUERY).splitlines()[1:]
        return {line.split(maxsplit=1)[0]: found for line in lines if (found := _held(line))}

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


def _held(line: str) -> HeldImage | None:
    """Of a line of `ctr images list`: REF, TYPE, DIGEST, SIZE, PLATFORMS, LABELS."""
    target = _TARGET.fullmatch(line.split()[2]) if len(line.split()) > 2 else None
    if target is None:
        return None
    origin = _ORIGIN_SAYS.search(line)
    return HeldImage(target[0], origin[1] if origin and origin[2] == target[0] else "")


def archive_references(archive: str) -> tuple[str, ...]:
    """The names in an OCI layout or `docker save` archive; an unreadable one has none."""
    return tuple(name for name in _archive_names(archive) if name)


def holds_images(archive: str) -> bool:
    """Whether the file is an archive of images, named or not."""
    return bool(_archive_names(archive))


def _archive_names(archive: str) -> tuple[str, ...]:
    """One for each name of an image, "" for an image without one."""
    import tarfile

    try:
        with tarfile.open(archive) as tar:
            return tuple(dict.fromkeys(_names(tar)))
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        return ()


def _names(tar: "tarfile.TarFile") -> Iterator[str]:
    for member in tar:
        if not member.isfile() or member.size > _INDEX_LIMIT or not (file := tar.extractfile(member)):
            continue
        name = member.name.removeprefix("./")
        if name == "index.json":
            for manifest in json.load(file)["manifests"]:
                annotations = manifest.get("annotations", {})
                yield from [annotations[key] for key in _REFERENCE_KEYS if key in annotations] or [""]
        elif name == "manifest.json":
            for image in json.load(file):
                yield from image["RepoTags"] or [""]
