"""Whole files or none, also after a power cut: the one way in which the agent puts a file in place.

Temporary beside the target, owner and mode before content, fsync, rename, fsync of the directory. The temporary's
name starts with a dot: kubelet reads every `[^.]*` in its manifest directory, containerd and CNI likewise.
"""

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NewType

from units.errors import BootwrightError, Fatal, Retryable

Descriptor = NewType("Descriptor", int)
Ids = tuple[int, int]  # uid, gid

_TEMPORARY = re.compile(r"\..+\.tmp-[0-9a-f]{16}")


def is_temporary(name: str) -> bool:
    """What an interrupted write left behind; the next write of that file sweeps it, or its removal."""
    return _TEMPORARY.fullmatch(name) is not None


@contextmanager
def replacing(path: Path, *, mode: int, ids: Ids | None) -> Iterator[BinaryIO]:
    """Yields the file to fill. Leaving the block puts it at `path`; an exception leaves `path` as it was.

    `path` is a real path whose directory exists. `ids` are the owner's numbers, None to keep the caller's.
    """
    with opened_directory(path.parent) as parent:
        sweep(parent, path.name)
        temporary = _temporary(path.name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600, dir_fd=parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if ids is not None:
                    os.fchown(descriptor, *ids)
                os.fchmod(descriptor, mode)  # after chown, which drops set-uid bits
                yield file
                file.flush()
                os.fsync(descriptor)
            _rename(parent, temporary, path.name)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=parent)
            raise
        os.fsync(parent)


def replace_symlink(path: Path, target: str) -> None:
    with opened_directory(path.parent) as parent:
        sweep(parent, path.name)
        temporary = _temporary(path.name)
        os.symlink(target, temporary, dir_fd=parent)
        try:
            _rename(parent, temporary, path.name)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=parent)
            raise
        os.fsync(parent)


@contextmanager
def opened_directory(path: Path) -> Iterator[Descriptor]:
    """Everything below happens relative to this descriptor: a directory swapped meanwhile changes nothing."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Descriptor(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def explained(action: str, path: str | Path, *, size: int | None = None) -> Iterator[None]:
    """Turns an OSError into an error that names the path, and for a full disk how many bytes were wanted."""
    try:
        yield
    except BootwrightError:
        raise
    except OSError as error:
        raise _explanation(error, action, path, size) from error


def _explanation(error: OSError, action: str, path: str | Path, size: int | None) -> BootwrightError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    wanted = f" ({size} bytes needed)" if size is not None else ""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return Fatal(
                "disk-full",
                f"cannot {action} {path}{wanted}: {reason}",
                remedy=f"free space or inodes: `df -h {Path(path).parent}`, `df -i`",
            )
        case errno.EROFS:
            return Fatal(
                "read-only-file-system",
                f"cannot {action} {path}: {reason}",
                remedy="the kernel remounts a file system read-only after an I/O error: look at `dmesg`",
            )
        case errno.EACCES | errno.EPERM:
            return Fatal(
                "permission-denied",
                f"cannot {action} {path}: {reason}",
                remedy="run as root; if you are, the file or its directory is immutable (`lsattr -d`)",
            )
        case _:
            return Fatal("file-failed", f"cannot {action} {path}: {reason}")


def _temporary(name: str) -> str:
    # The kernel allows 255 bytes; the suffix takes 22.
    return f".{name[:200]}.tmp-{secrets.token_hex(8)}"


def sweep(parent: Descriptor, name: str | None = None) -> None:
    """Removes the temporaries of interrupted writes of that file, or of every file in the directory."""
    prefix = "." if name is None else f".{name[:200]}.tmp-"
    for entry in os.listdir(parent):  # noqa: PTH208 (a descriptor, not a path)
        if entry.startswith(prefix) and is_temporary(entry):
            with suppress(FileNotFoundError):
                os.unlink(entry, dir_fd=parent)


def _rename(parent: Descriptor, temporary: str, name: str) -> None:
    try:
        os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except FileNotFoundError as error:
        # Only another agent sweeps; the lock that a run holds makes this a person's second agent.
        raise Retryable("write-raced", f"another process is writing {name} at the same time") from error
