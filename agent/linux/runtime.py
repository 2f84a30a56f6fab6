"""containerd, asked through ctr what it runs: labels of its own records, and which of their tasks run."""

import json

from agent.linux.run import Run, run
from units.errors import BootwrightError, Fatal, Retryable
from units.pods import DIGEST_LABEL, NAME_LABEL

_SECONDS = 10.0
# What the CRI plugin writes on what it makes; a sandbox has its pod's own labels too, a container has not.
_SANDBOX = f'labels."io.cri-containerd.kind"==sandbox,labels."{DIGEST_LABEL}"'
_CONTAINER = 'labels."io.cri-containerd.kind"==container,labels."io.kubernetes.pod.uid"=={}'
_UID_LABEL = "io.kubernetes.pod.uid"


class ContainerdRuntime:
    """Implements `units.runtime.Runtime`. `address` is containerd's socket."""

    def __init__(self, run: Run = run, *, address: str = "/run/containerd/containerd.sock") -> None:
        self._run = run
        self._ctr = ("ctr", "--address", address, "--connect-timeout", "3s", "--namespace", "k8s.io")

    def complaint(self) -> str:
        try:
            self._ask("version")
        except BootwrightError as error:
            return str(error)
        return ""

    def static_pods(self) -> dict[str, frozenset[str]]:
        running = frozenset(
            line.split()[0] for line in self._ask("tasks", "list").splitlines() if line.endswith("RUNNING")
        )
        found: dict[str, frozenset[str]] = {}
        for sandbox in self._ask("containers", "list", "--quiet", _SANDBOX).split():
            labels = self._labels(sandbox) if sandbox in running else {}
            if not labels:
                continue
            containers = self._ask("containers", "list", "--quiet", _CONTAINER.format(labels.get(_UID_LABEL))).split()
            # One that crashed stays listed beside its successor until kubelet cleans up.
            if running & set(containers):
                name = labels.get(NAME_LABEL, "")
                found[name] = found.get(name, frozenset()) | {labels[DIGEST_LABEL]}
        return found

    def _labels(self, container: str) -> dict[str, str]:
        try:
            answer = json.loads(self._ask("containers", "info", container))
            return {str(key): str(value) for key, value in answer["Labels"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}
        except Fatal:  # gone since it was listed
            return {}

    def _ask(self, *arguments: str) -> str:
        ended = self._run([*self._ctr, *arguments], timeout=_SECONDS, allowed=None)
        if ended.exit_code == 0:
            return ended.text
        said = ended.complaint()
        if "not found" in said:
            raise Fatal("container-gone", f"`ctr {' '.join(arguments)}`: {said}")
        raise Retryable(
            "containerd-unreachable",
            f"containerd does not answer: {said}",
            remedy="systemctl status containerd; journalctl -u containerd",
        )
