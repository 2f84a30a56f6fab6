"""Directory, File, Symlink and HostsBlock: what lies in the file system."""

import base64
import difflib
import hashlib
from dataclasses import dataclass, field
from typing import Literal

from units.host import FileState, Host
from units.resource import Change, Description

ROOT = "root"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _attributes(mode: int, owner: str, group: str) -> str:
    return f"{mode:04o} {owner}:{group}"


def _differs(state: FileState, mode: int, owner: str, group: str) -> str | None:
    found = _attributes(state.mode, state.owner, state.group)
    wanted = _attributes(mode, owner, group)
    return None if found == wanted else f"{found} -> {wanted}"


@dataclass(frozen=True, slots=True)
class Directory:
    path: str
    mode: int = 0o755
    owner: str = ROOT
    group: str = ROOT

    @property
    def key(self) -> str:
        return f"directory:{self.path}"

    def check(self, host: Host) -> Change | None:
        state = host.files.read(self.path)
        if state is None or state.kind != "directory":
            return Change("create")
        attributes = _differs(state, self.mode, self.owner, self.group)
        return Change(f"attributes {attributes}") if attributes else None

    def apply(self, host: Host) -> None:
        host.files.make_directory(self.path, mode=self.mode, owner=self.owner, group=self.group)

    def describe(self) -> Description:
        return Description(self.key, (_attributes(self.mode, self.owner, self.group),))


@dataclass(frozen=True, slots=True)
class File:
    """A whole file. `secret` keeps its content out of every diff: digests stand in."""

    path: str
    content: str = field(repr=False)
    mode: int = 0o644
    owner: str = ROOT
    group: str = ROOT
    secret: bool = False
    kind: str = "file"
    encoding: Literal["text", "base64"] = "text"

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.path}"

    @property
    def digest(self) -> str:
        return digest(self.data)

    @property
    def data(self) -> bytes:
        return base64.b64decode(self.content) if self.encoding == "base64" else self.content.encode()

    def check(self, host: Host) -> Change | None:
        state = host.files.read(self.path)
        if state is None:
            return Change("create", self._diff(""))
        if state.kind != "file":
            return Change(f"replace a {state.kind}", self._diff(""))
        if state.content != self.data:
            return Change("update", self._diff((state.content or b"").decode(errors="replace")))
        attributes = _differs(state, self.mode, self.owner, self.group)
        return Change(f"attributes {attributes}") if attributes else None

    def apply(self, host: Host) -> None:
        host.files.write(self.path, self.data, mode=self.mode, owner=self.owner, group=self.group)

    def describe(self) -> Description:
        head = _attributes(self.mode, self.owner, self.group)
        body = (f"sha256:{self.digest}",) if self.secret else tuple(self.content.splitlines())
        return Description(self.key, (head, *body))

    def _diff(self, before: str) -> str:
        if self.secret:
            old = f"sha256:{digest(before.encode())}" if before else "nothing"
            return f"secret content: {old} -> sha256:{self.digest}"
        lines = difflib.unified_diff(
            before.splitlines(), self.content.splitlines(), self.path, self.path, lineterm="", n=2
        )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Symlink:
    path: str
    target: str

    @property
    def key(self) -> str:
        return f"symlink:{self.path}"

    def check(self, host: Host) -> Change | None:
        state = host.files.read(self.path)
        if state is None:
            return Change(f"create -> {self.target}")
        if state.kind != "symlink" or state.target != self.target:
            return Change(f"{state.target or state.kind} -> {self.target}")
        return None

    def apply(self, host: Host) -> None:
        host.files.symlink(self.path, self.target)

    def describe(self) -> Description:
        return Description(self.key, (f"-> {self.target}",))


@dataclass(frozen=True, slots=True)
class HostsBlock:
    """A marked block in /etc/hosts; everything outside the marks is left alone."""

    name: str
    entries: tuple[tuple[str, tuple[str, ...]], ...]  # address, names
    path: str = "/etc/hosts"

    @property
    def key(self) -> str:
        return f"hosts-block:{self.name}"

    def check(self, host: Host) -> Change | None:
        before = self._current(host)
        after = self._with_block(before)
        if before == after:
            return None
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), self.path, self.path, lineterm="", n=1)
        return Change("update", "\n".join(lines))

    def apply(self, host: Host) -> None:
        content = self._with_block(self._current(host)).encode()
        host.files.write(self.path, content, mode=0o644, owner=ROOT, group=ROOT)

    def describe(self) -> Description:
        return Description(self.key, tuple(self._lines()))

    def _current(self, host: Host) -> str:
        state = host.files.read(self.path)
        return (state.content or b"").decode(errors="replace") if state else ""

    def _lines(self) -> list[str]:
        return [f"{address} {' '.join(names)}" for address, names in self.entries]

    def _with_block(self, text: str) -> str:
        begin, end = f"# begin bootwright {self.name}", f"# end bootwright {self.name}"
        kept: list[str] = []
        inside = False
        for line in text.splitlines():
            if line == begin:
                inside = True
            elif line == end:
                inside = False
            elif not inside:
                kept.append(line)
        block = [begin, *self._lines(), end] if self.entries else []
        return "\n".join([*kept, *block]) + "\n"
