"""Sysctls through /proc/sys and modules through /sys/module, without a process unless a module must be loaded."""

import errno
import os
from pathlib import Path

from agent.linux.atomic import explained
from agent.linux.run import Run, run
from units.errors import Fatal


class LinuxKernel:
    """Implements `units.host.Kernel`. `root` stands in front of /proc, /sys and /lib."""

    def __init__(self, root: str | Path = "/", run: Run = run) -> None:
        self._root = Path(root)
        self._run = run

    def sysctl(self, name: str) -> str | None:
        path = self._key(name)
        with explained("read", path):
            try:
                return " ".join(path.read_text(encoding="utf-8", errors="replace").split())
            except (FileNotFoundError, NotADirectoryError):
                return None

    def set_sysctl(self, name: str, value: str) -> None:
        """Fatal if this kernel has no such key or refuses the value."""
        path = self._key(name)
        try:
            with explained("write", path):
                _write_existing(path, f"{value}\n")
        except Fatal as failure:
            raise _refusal(name, value, failure) from failure

    def module_loaded(self, name: str) -> bool:
        found = self._root / "sys/module" / _module(name)
        state = found / "initstate"
        if state.exists():  # loadable: `coming` and `going` are not there yet, or no more
            return state.read_text(encoding="ascii").strip() == "live"
        return found.is_dir() or _module(name) in self._built_in()

    def load_module(self, name: str) -> None:
        try:
            self._run(["modprobe", "--", name], timeout=60)
        except Fatal as failure:
            raise Fatal(
                "module-missing",
                f"cannot load kernel module {name}: {failure.message}",
                remedy="use an image whose kernel has it (on Debian's cloud kernel: package linux-image-amd64)",
            ) from failure

    def _key(self, name: str) -> Path:
        """As sysctl(8): `net.ipv4.conf.eth0/1.forwarding`, where a slash stands for a dot inside a part."""
        parts = [part.replace("/", ".") for part in name.split(".")]
        if any(part in ("", ".", "..") for part in parts):
            raise Fatal("sysctl-invalid", f"{name!r} is not the name of a sysctl")
        return self._root.joinpath("proc/sys", *parts)

    def _built_in(self) -> set[str]:
        release = (self._root / "proc/sys/kernel/osrelease").read_text(encoding="ascii").strip()
        listing = self._root / "lib/modules" / release / "modules.builtin"
        if not listing.exists():
            return set()
        return {_module(Path(line).name.split(".ko")[0]) for line in listing.read_text(encoding="utf-8").splitlines()}


def _write_existing(path: Path, text: str) -> None:
    """One write call: the kernel takes a sysctl's value whole or not at all."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _module(name: str) -> str:
    """The kernel's own spelling: modprobe takes `ip-tables` and `ip_tables` alike."""
    return name.replace("-", "_")


def _refusal(name: str, value: str, failure: Fatal) -> Fatal:
    cause = failure.__cause__
    number = cause.errno if isinstance(cause, OSError) else None
    if number == errno.ENOENT:
        return Fatal(
            "sysctl-missing",
            f"this kernel has no sysctl {name}",
            remedy="load the module that brings it first (br_netfilter for net.bridge.*), or drop the setting",
        )
    if number in (errno.EINVAL, errno.ERANGE):
        return Fatal("sysctl-refused", f"the kernel refuses {value!r} for {name}", remedy="use a value it allows")
    return failure
