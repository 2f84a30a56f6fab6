"""The one static pod that the kubelet double does something for: a double of kube-apiserver runs as a service."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

UNIT = "kube-apiserver-double.service"


def keep_running(manifest: Path | None, command: str, say: Callable[[str], None]) -> None:
    """With the pod's own arguments; replaced when the pod's file changes, and gone with it (None).

    A service of its own, as a container is: it outlives kubelet.
    """
    wanted = _description(manifest) if manifest else ""
    shown = _systemctl("show", "--property=Description", "--value", UNIT).strip()
    running = shown if _systemctl("is-active", UNIT).strip() in ("active", "activating") else ""
    if running == wanted:
        return
    if running:
        say(f"static pod kube-apiserver: {'has changed' if wanted else 'is gone'}: its double ends")
        _systemctl("stop", UNIT)
    if manifest:
        say(f"static pod kube-apiserver: its double is {UNIT}; journalctl -u {UNIT}")
        argv = [sys.executable, "-I", sys.argv[0], command, *_arguments(manifest)]
        options = [f"--unit={UNIT}", f"--description={wanted}", "--property=Restart=always", "--property=RestartSec=1"]
        subprocess.run(["systemd-run", "--quiet", "--collect", *options, "--", *argv], check=False, timeout=30)


def _description(manifest: Path) -> str:
    return f"DOUBLE of static pod kube-apiserver {hashlib.sha256(manifest.read_bytes()).hexdigest()[:16]}"


def _arguments(manifest: Path) -> list[str]:
    import yaml

    pod: Any = yaml.safe_load(manifest.read_text())
    return list(pod["spec"]["containers"][0]["command"][1:])


def _systemctl(*arguments: str) -> str:
    return subprocess.run(["systemctl", *arguments], check=False, capture_output=True, text=True, timeout=30).stdout
