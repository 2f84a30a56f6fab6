"""Mounts: what the kernel says is mounted, mount(8), and mount points that nothing can be written to by mistake.

There is no unmount: an etcd volume leaves a machine when the machine ends.
"""

import errno
import fcntl
import logging
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from agent.linux.atomic import explained, opened_directory
from agent.linux.run import Run, run
from units.errors import Fatal, Refused
from units.host import MountState

logger = logging.getLogger(__name__)

_TIMEOUT = 120.0  # seconds; a mount replays the journal first
_ESCAPE = re.compile(r"\\([0-7]{3})")
# linux/fs.h; the ioctl is declared with a long but reads and writes an int.
_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10
# After errors=remount-ro Linux 6.14 and later leave "rw" as it is, and add a word of ext4's own.
_READ_ONLY = {"ro", "emergency_ro", "shutdown"}
_UNSUPPORTED = (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of mountinfo (proc_pid_mountinfo(5))."""

    device: str  # major:minor
    path: str
    fstype: str
    source: str
    options: tuple[str, ...]  # of the mount and of its super block; `ro` if either says so


def parse_mountinfo(text: str) -> tuple[MountEntry, ...]:
    """In mount order: of several entries for one path the last is the one on top."""
    return tuple(_entry(line) for line in text.splitlines() if line.strip())


class LinuxMounts:
    """Implements `units.host.Mounts`. `proc` is where the kernel's view is read."""

    def __init__(self, run: Run = run, *, proc: str | Path = "/proc") -> None:
        self._run = run
        self._proc = Path(proc)

    def mounted(self, path: str) -> MountState | None:
        entry = self._top(path, "self")
        return MountState(entry.source, entry.fstype, entry.options) if entry else None

    def device_mounted_at(self, device: str) -> str | None:
        """Where the block device `major:minor` is mounted; the first place of several."""
        return next((entry.path for entry in self._entries("self") if entry.device == device), None)

    def mount(self, device: str, path: str, *, fstype: str, options: tuple[str, ...]) -> None:
        wanted = ("-o", ",".join(options)) if options else ()
        command = ["mount", "-t", fstype, *wanted, "--source", device, "--target", path]
        ended = self._run(command, timeout=_TIMEOUT, allowed=None)
        if ended.exit_code != 0:
            raise Fatal(
                "mount-failed",
                f"cannot mount {device} on {path} as {fstype}: {ended.complaint()}",
                remedy=f"dmesg | tail; e2fsck -n {device}",
            )
        if self._top(path, "1") is None:
            raise Fatal(
                "mount-invisible",
                f"{path} is mounted for the agent only: it runs in a mount namespace of its own",
                remedy="take PrivateMounts=, ProtectSystem= and the like out of the agent's unit",
            )

    def remount(self, path: str, *, options: tuple[str, ...]) -> None:
        """With `bind` the kernel changes the flags of this mount alone (mount(8)): a super block that went read-only
        stays so, whatever is asked here, and its own options are not read anew.
        """
        command = ["mount", "-o", ",".join(("remount", "bind", *options)), "--target", path]
        ended = self._run(command, timeout=_TIMEOUT, allowed=None)
        if ended.exit_code != 0:
            raise Fatal(
                "mount-failed", f"cannot remount {path}: {ended.complaint()}", remedy=f"dmesg | tail; findmnt {path}"
            )

    def protect(self, path: str) -> None:
        """Refused if something is mounted there, or lies there already: that is data on the wrong disk."""
        if self._top(path, "self"):
            raise Refused("mount-point-in-use", f"{path} has a file system on it; only a bare directory is protected")
        with explained("protect", path), opened_directory(Path(path)) as directory:
            if strangers := sorted(os.listdir(directory)):  # noqa: PTH208 (a descriptor, not a path)
                raise Refused(
                    "mount-point-not-empty",
                    f"{path} should be an empty mount point, but holds {', '.join(strangers[:5])}",
                    remedy="something wrote to the root disk while the volume was away: look, and move it out",
                )
            _make_immutable(directory, path)

    def _top(self, path: str, process: str) -> MountEntry | None:
        real = str(Path(path).resolve())  # the kernel lists where a symlinked path leads
        entries = [entry for entry in self._entries(process) if entry.path == real]
        return entries[-1] if entries else None

    def _entries(self, process: str) -> tuple[MountEntry, ...]:
        mountinfo = self._proc / process / "mountinfo"
        with explained("read", mountinfo):
            return parse_mountinfo(mountinfo.read_text(encoding="utf-8", errors="surrogateescape"))


def _entry(line: str) -> MountEntry:
    # The number of optional fields before the lone dash varies; a path cannot hold " - " (spaces are escaped).
    before, _, after = line.partition(" - ")
    _, _, device, _, path, options, *_ = before.split(" ")
    fstype, source, super_options = after.split(" ")[:3]
    return MountEntry(device, _unescape(path), fstype, _unescape(source), _merged(options, super_options))


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)


def _merged(options: str, super_options: str) -> tuple[str, ...]:
    """After an I/O error the super block is read-only while the mount still says rw: the stricter one is true."""
    merged = list(dict.fromkeys([*options.split(","), *super_options.split(",")]))
    if _READ_ONLY & set(merged):
        merged = [option for option in merged if option not in ("rw", "ro")] + ["ro"]
    return tuple(merged)


def _make_immutable(directory: int, path: str) -> None:
    try:
        flags: int = struct.unpack("i", fcntl.ioctl(directory, _GET_FLAGS, struct.pack("i", 0)))[0]
        if not flags & _IMMUTABLE:
            fcntl.ioctl(directory, _SET_FLAGS, struct.pack("i", flags | _IMMUTABLE))
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        logger.warning(
            "%s cannot be made immutable (%s): a write before the mount would land on the root disk",
            path,
            os.strerror(error.errno),
            extra={"path": path},
        )
