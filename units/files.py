"""Directory, File and Symlink: what lies in the file system."""

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
            return Change("create", self._diff(b""))
        if state.kind != "file":
            return Change(f"replace a {state.kind}", self._diff(b""))
        if state.content != self.data:
            return Change("update", self._diff(state.content or b""))
        attributes = _differs(state, self.mode, self.owner, self.group)
        return Change(f"attributes {attributes}") if attributes else None

    def apply(self, host: Host) -> None:
        host.files.write(self.path, self.data, mode=self.mode, owner=self.owner, group=self.group)

    def describe(self) -> Description:
        head = _attributes(self.mode, self.owner, self.group)
        body = tuple(self.content.splitlines()) if self._readable else (f"sha256:{self.digest}",)
        return Description(self.key, (head, *body))

    @property
    def _readable(self) -> bool:
        return not self.secret and self.encoding == "text"

    def _diff(self, before: bytes) -> str:
        if not self._readable:
            old = f"sha256:{digest(before)}" if before else "nothing"
            return f"{'secret' if self.secret else 'binary'} content: {old} -> sha256:{self.digest}"
        lines = difflib.unified_diff(
            before.decode(errors="replace").splitlines(),
            self.content.splitlines(),
            self.path,
            self.path,
            lineterm="",
            n=2,
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
