"""The command that is a machine: a script in its folder, run at power-on and again by the guest's own `reboot`."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.disks import Disk
from tests.lab.kernel import Kernel

# Sockets of management consoles: short, because a socket's path has 107 bytes at most.
SOCKETS = Path("/run/bw-lab")
HELPERS = frozenset({"linux.uml", "uml-userspace", "power-on", "unshare"})

# User-Mode Linux reboots by executing argv[0]: this very script, which by then may name other disks than at power-on.
# It inherits every open file, and the tap cannot be opened twice.
_SCRIPT = """\
#!/bin/bash
for file in /proc/self/fd/*; do
    number=${{file##*/}}
    if (( number > 2 )); then eval "exec $number>&-" 2> /dev/null; fi
done
# The kernel's own C library, whichever the host has; seen by this machine's processes alone.
[[ /lib64 -ef {loader} ]] || mount --bind {loader} /lib64 || exit 1
export LD_LIBRARY_PATH={libraries}
exec -a {itself} {command}
"""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the machine is made of at the moment of power-on."""

    name: str
    memory_mib: int
    tap: str
    mac: str
    disks: Mapping[str, Disk]  # by device: ubda, ubdb, ...
    kernel_arguments: Sequence[str]

    @property
    def socket(self) -> Path:
        return SOCKETS / self.name / "mconsole"


def network_arguments(address: str, gateway: str, netmask: str, hostname: str) -> tuple[str, ...]:
    """Read by systemd-network-generator and by systemd itself."""
    return (f"ip={address}::{gateway}:{netmask}::vec0:off", f"systemd.hostname={hostname}")


def write_script(path: Path, kernel: Kernel, hardware: Hardware) -> None:
    """The script at `path`, replaced in one go: a guest may reboot at any moment."""
    text = _SCRIPT.format(
        loader=shlex.quote(str(kernel.loader_folder)),
        libraries=shlex.quote(str(kernel.library_folder)),
        itself=shlex.quote(str(path)),
        command=shlex.join([str(kernel.binary), *_arguments(hardware)]),
    )
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.chmod(0o755)
    partial.rename(path)


def _arguments(hardware: Hardware) -> list[str]:
    disks = [f"{device}={disk.argument}" for device, disk in hardware.disks.items()]
    return [
        f"mem={hardware.memory_mib}M",
        *disks,
        "root=/dev/ubda",
        "rw",
        # seccomp instead of ptrace, where the host allows it: six times as many system calls a second.
        "seccomp=auto",
        "con=null",
        "con0=null,fd:1",
        "con1=pts",
        "ssl=null",
        f"vec0:transport=tap,ifname={hardware.tap},mac={hardware.mac},depth=128,gro=1",
        f"uml_dir={SOCKETS}/",
        f"umid={hardware.name}",
        "quiet",
        # 256 pairs of terminals that nobody uses, each an event for udev: 2 s of the boot.
        "pty.legacy_count=0",
        "security=none",
        *hardware.kernel_arguments,
    ]
