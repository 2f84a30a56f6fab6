"""Commands in a machine, over ssh with keys of the lab's own: nobody is asked, no host key is taken on trust."""

import os
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab import cache
from tests.lab.run import run

HOST_ALIAS = "bootwright-lab"


@dataclass(frozen=True, slots=True)
class Keys:
    """One pair for the operator and one for all machines: they are baked into the image, for this cache only."""

    folder: Path

    @property
    def private(self) -> Path:
        return self.folder / "operator_key"

    @property
    def public(self) -> Path:
        return self.folder / "operator_key.pub"

    @property
    def host_public(self) -> Path:
        return self.folder / "host_key.pub"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"


def keys() -> Keys:
    """The cache's keys, made on first use."""
    pair = Keys(cache.folder("ssh"))
    with cache.locked("ssh"):
        pair.folder.chmod(0o700)
        for name in ("operator_key", "host_key"):
            if not (pair.folder / f"{name}.pub").exists():
                (pair.folder / name).unlink(missing_ok=True)
                run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(pair.folder / name)])
        _write_known_hosts(pair)
    return pair


def _write_known_hosts(pair: Keys) -> None:
    """Never in place: an ssh that another process just started would read half of it."""
    wanted = f"{HOST_ALIAS} {pair.host_public.read_text()}"
    if pair.known_hosts.exists() and pair.known_hosts.read_text() == wanted:
        return
    partial = pair.known_hosts.with_suffix(".partial")
    partial.write_text(wanted)
    partial.replace(pair.known_hosts)


def arguments(address: str, *, tty: bool = False) -> list[str]:
    """The ssh command line up to the command; with `tty` for a person."""
    pair = keys()
    options = {
        "IdentityFile": pair.private,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": pair.known_hosts,
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlias": HOST_ALIAS,
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": "5",
        # A machine whose power was cut answers nothing, for ever.
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "6",
        "LogLevel": "ERROR",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "none", *(["-t"] if tty else ["-T"]), *words, f"root@{address}"]


def execute(address: str, argv: Sequence[str], *, timeout: float) -> subprocess.CompletedProcess[str]:
    """Exit code 255 is ssh's own: the machine could not be reached. Raises subprocess.TimeoutExpired."""
    return subprocess.run(
        [*arguments(address), shlex.join(argv)],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        env={"PATH": os.environ.get("PATH", "/usr/bin:/bin")},
    )
