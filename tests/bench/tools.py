"""A sandbox node whose adapters start what they start on a machine; a double plays the tools and names each process.

systemd, accounts, modules and containerd's images are then reached as on a node, through `agent.linux.run.Run`. Not in
it: the tools of an etcd volume (blkid, wipefs, mkfs.ext4, e2fsck, resize2fs, mount), which no folder can stand for.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from agent.linux.boot_stamps import gather_stamps
from agent.linux.images import ContainerdImages
from agent.linux.kernel import LinuxKernel
from agent.linux.run import Completed
from agent.linux.runtime import ContainerdRuntime
from agent.linux.systemd import LinuxSystemd
from agent.linux.users import LinuxUsers
from agent.linux.verifier import LinuxVerifier
from tests.bench.child import Stopwatch
from tests.bench.watched import WatchedNode
from units.host import Host
from units.manifest import Manifest
from units.memory import MemoryImages, MemorySystemd
from units.report import Report
from units.services.base import SYSCTLS, TUNING
from units.status import NodeStatus

_ORIGIN = re.compile(r"io\.bootwright\.origin=([0-9a-f]{64})@")


class ToolsDouble:
    """Implements `agent.linux.run.Run`: a machine on which all goes well, by the models of units.memory."""

    def __init__(self, root: Path) -> None:
        self.started: list[list[str]] = []
        self.systemd: MemorySystemd
        self.images: MemoryImages
        self.references: Mapping[str, str] = {}  # sha256 of an archive -> the image in it
        self._root = root
        self._imported: dict[str, str] = {}
        self._tools: Mapping[str, Callable[[list[str]], str]] = {
            "systemctl": self._systemctl,
            "ctr": self._ctr,
            "modprobe": lambda words: self._module(words[-1]),
            "groupadd": lambda words: self._append("group", f"{words[-1]}:x:{_option(words, '--gid')}:"),
            "useradd": lambda words: self._append("passwd", _passwd(words)),
        }

    def __call__(
        self, arguments: Sequence[str], *, timeout: float, stdin: bytes = b"", allowed: tuple[int, ...] | None = (0,)
    ) -> Completed:
        del timeout, stdin, allowed
        self.started.append(list(arguments))
        answer = self._tools.get(arguments[0], lambda _words: "")
        return Completed(tuple(arguments), 0, answer(list(arguments[1:])).encode(), b"")

    def _systemctl(self, words: list[str]) -> str:
        verb, unit = next(word for word in words if not word.startswith("-")), words[-1]
        if verb == "show":
            state = self.systemd.state(unit)
            enabled, stale = ("enabled", "disabled")[not state.enabled], ("no", "yes")[state.need_daemon_reload]
            return f"LoadState=loaded\nActiveState={state.active}\nUnitFileState={enabled}\nNeedDaemonReload={stale}\n"
        if verb == "daemon-reload":
            self.systemd.reload_daemon()
        else:
            getattr(self.systemd, verb)(unit)
        return ""

    def _ctr(self, words: list[str]) -> str:
        verbs = words[words.index("k8s.io") + 1 :]
        if verbs[:2] == ["images", "import"]:
            archive = verbs[2].rpartition("/")[2]
            self._imported[self.references[archive]] = archive
        elif verbs[:2] == ["images", "label"]:
            found = _ORIGIN.search(verbs[-1])
            assert found
            self.images.loaded[verbs[2]] = found[1]
        elif verbs[:2] == ["images", "list"]:
            held = self.images.loaded if len(verbs) > 2 else {**self._imported, **self.images.loaded}
            return "REF TYPE DIGEST SIZE PLATFORMS LABELS\n" + "".join(map(_line, held.items()))
        return ""

    def _module(self, name: str) -> str:
        (self._root / "sys/module" / name.replace("-", "_")).mkdir(parents=True, exist_ok=True)
        return ""

    def _append(self, file: str, line: str) -> str:
        with (self._root / "etc" / file).open("a") as lines:
            lines.write(f"{line}\n")
        return ""


class ToolsNode(WatchedNode):
    """With `preloaded`, the images of the manifest are in containerd as packer/preload.sh leaves them."""

    def __init__(self, root: Path, imds_url: str, watch: Stopwatch, *, preloaded: bool) -> None:
        super().__init__(root, imds_url, watch)
        self.tools = ToolsDouble(root)
        self._preloaded = preloaded
        self._state.systemd_state = {"active": set()}  # of the image, nothing of ours is enabled
        self.reporter.at_end = self._stamp
        for name in (*SYSCTLS, *TUNING):
            path = root.joinpath("proc/sys", *name.split("."))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("0\n")

    def _stamp(self, status: NodeStatus, _report: Report) -> NodeStatus:
        """What `record_boot` asks systemd for; the timeline of a sandbox tells nothing."""
        gather_stamps(self.tools)
        return status

    def host(self, manifest: Manifest) -> Host:
        host = super().host(manifest)
        root, tools = self.places.root, self.tools
        tools.systemd, tools.images = self._ports["systemd"], self._ports["images"]
        tools.references = {image.sha256: image.reference for image in manifest.images}
        if self._preloaded:
            tools.images.loaded |= {image.reference: image.sha256 for image in manifest.images}
        return replace(
            host,
            systemd=LinuxSystemd(tools),
            kernel=LinuxKernel(root, tools),
            users=LinuxUsers(root, tools),
            images=ContainerdImages(tools),
            verifier=LinuxVerifier(tools),
            runtime=ContainerdRuntime(tools),
        )


def _line(image: tuple[str, str]) -> str:
    reference, archive = image
    labels = f"io.bootwright.origin={archive}@sha256:{archive},io.cri-containerd.pinned=pinned"
    return f"{reference} application/vnd.oci.image.manifest.v1+json sha256:{archive} 1.0 MiB linux/amd64 {labels}\n"


def _passwd(words: list[str]) -> str:
    uid, gid, home, shell = (_option(words, name) for name in ("--uid", "--gid", "--home-dir", "--shell"))
    return f"{words[-1]}:x:{uid}:{gid}::{home}:{shell}"


def _option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]
