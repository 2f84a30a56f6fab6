"""What the issuer next door leaves for the root agent: one small file for each node that it has issued to.

`/run/bootwright-issuer/issued/NODE` with the group's name in it. The folder belongs to another user, so it is read as
what a stranger wrote: names that a Node can have, regular files, few bytes, and never through a link. It is asked at
every poll, so nothing heavy is imported here.
"""

import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from units.errors import Refused

LOG = logging.getLogger("bootwright")
ISSUED = Path("/run/bootwright-issuer/issued")
MOST = 500  # files looked at in one run; the rest has its turn a minute later
_MOST_BYTES = 256
_KEPT_SECONDS = 24 * 3600.0
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")  # RFC 1123 subdomain, as Nodes and groups are called


def marks_pending(folder: Path = ISSUED) -> bool:
    """One look at the folder; False also if there is none."""
    return bool(_nodes_in(folder))


def _nodes_in(folder: Path | int) -> list[str]:
    """A file that is being written has a leading dot, and is not for us yet."""
    try:
        return sorted(name for name in os.listdir(folder) if _NAME.fullmatch(name))  # noqa: PTH208  also a descriptor
    except OSError:
        return []


@dataclass(frozen=True, slots=True)
class Mark:
    """The issuer has issued to `node` as a member of `group`."""

    node: str
    group: str
    outdated: bool  # older than a day: whatever it waits for does not come
    identity: tuple[int, int]


class IssuedMarks:
    """The folder, held open. Refused `issued-folder-refused` if a link or no folder lies there."""

    def __init__(self, folder: Path = ISSUED, now: Callable[[], float] = time.time) -> None:
        self._folder, self._now = folder, now
        self._descriptor = -1

    def __enter__(self) -> Self:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self._folder, flags)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise Refused(
                "issued-folder-refused",
                f"{self._folder}: {error.strerror}; allowed: a directory",
                remedy="somebody else put it there: look at who, then systemctl restart bootwright-issuer.socket",
            ) from error
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __iter__(self) -> Iterator[Mark]:
        """At most MOST; what is no mark is removed on the way."""
        names = _nodes_in(self._descriptor) if self._descriptor >= 0 else []
        for name in names[:MOST]:
            try:
                mark = self._read(name)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._drop(name, error.strerror or "unreadable")
                continue
            if isinstance(mark, Mark):
                yield mark
            else:
                self._drop(name, mark)

    def remove(self, mark: Mark) -> None:
        """Unless the issuer has written it anew meanwhile: then it is about another issue."""
        try:
            found = os.stat(mark.node, dir_fd=self._descriptor, follow_symlinks=False)
            if _identity(found) == mark.identity:
                os.unlink(mark.node, dir_fd=self._descriptor)
        except FileNotFoundError:
            pass

    def _read(self, name: str) -> Mark | str:
        """Or why it is none. O_NONBLOCK: nobody may hold up root with a pipe."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(name, flags, dir_fd=self._descriptor)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return "not a regular file"
            content = os.read(descriptor, _MOST_BYTES + 1)
        finally:
            os.close(descriptor)
        group = content.removesuffix(b"\n").decode("ascii", errors="replace")
        if len(content) > _MOST_BYTES or not _NAME.fullmatch(group):
            return f"no name of a group in its {len(content)} bytes"
        # A time in the future is nobody's honest clock, and must not keep it for ever.
        outdated = abs(self._now() - found.st_mtime) > _KEPT_SECONDS
        return Mark(name, group, outdated, _identity(found))

    def _drop(self, name: str, why: str) -> None:
        LOG.warning("%s/%s is dropped: %s", self._folder, name, why, extra={"code": "issued-mark-refused"})
        try:
            os.unlink(name, dir_fd=self._descriptor)
        except OSError as error:
            LOG.warning("%s/%s stays: %s", self._folder, name, error.strerror)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return (found.st_ino, found.st_mtime_ns)
