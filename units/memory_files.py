"""The file systems of a machine in memory: its root disk, and what is mounted on it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from units.errors import Fatal
from units.host import FileState


@dataclass
class MemoryFiles:
    """`entries` is the root disk. What lies below a mount point is in the dict of the file system mounted there."""

    entries: dict[str, FileState] = field(default_factory=dict)
    assets: dict[str, str] = field(default_factory=dict)  # path -> sha256 of what was installed there
    mounted: dict[str, dict[str, FileState]] = field(
        default_factory=dict
    )  # mount point -> path inside -> what is there
    protected: set[str] = field(default_factory=set)

    def read(self, path: str) -> FileState | None:
        entries, inside = self._locate(path)
        return entries.get(inside)

    def digest(self, path: str) -> str | None:
        if path in self.assets:
            return self.assets[path]
        state = self.read(path)
        return hashlib.sha256(state.content).hexdigest() if state and state.content is not None else None

    def write(self, path: str, content: bytes, *, mode: int, owner: str, group: str) -> None:
        self._put(path, FileState("file", mode, owner, group, content))

    def set_attributes(self, path: str, *, mode: int, owner: str, group: str) -> None:
        entries, inside = self._locate(path)
        state = entries[inside]
        entries[inside] = FileState(state.kind, mode, owner, group, state.content, state.target)

    def make_directory(self, path: str, *, mode: int, owner: str, group: str) -> None:
        found = self.read(path)
        if found is not None and found.kind != "directory":
            raise Fatal("path-not-a-directory", f"{path} should be a directory, but a {found.kind} lies there")
        entries, inside = self._writable(path)
        entries[inside] = FileState("directory", mode, owner, group)

    def symlink(self, path: str, target: str) -> None:
        self._put(path, FileState("symlink", 0o777, "root", "root", target=target))

    def install(self, source: str, path: str, *, mode: int) -> None:
        self._put(path, FileState("file", mode, "root", "root"))  # content None: as a file too large to compare
        self.assets[path] = source.rpartition("/")[2]

    def remove(self, path: str) -> None:
        entries, inside = self._locate(path)
        entries.pop(inside, None)
        self.assets.pop(path, None)

    def sweep(self, path: str) -> None:
        """Nothing: a write is one step here."""

    def list(self, path: str) -> Sequence[str]:
        entries, inside = self._locate(path)
        prefix = f"{inside.rstrip('/')}/"
        below = (name.removeprefix(prefix) for name in entries if name.startswith(prefix))
        return sorted({name.split("/")[0] for name in below if name})

    def move(self, old: str, new: str) -> None:
        """A directory with all in it, at once; within one file system, over nothing or an empty directory."""
        entries, inside = self._locate(old)
        others, target = self._locate(new)
        if entries is not others or inside not in entries or self.list(new):
            raise Fatal("rename-failed", f"cannot rename {old} to {new}")
        below = [name for name in entries if name == inside or name.startswith(f"{inside}/")]
        for name in below:
            entries[target + name.removeprefix(inside)] = entries.pop(name)

    def remove_tree(self, path: str) -> None:
        entries, inside = self._locate(path)
        for name in [name for name in entries if name == inside or name.startswith(f"{inside}/")]:
            del entries[name]

    def _put(self, path: str, state: FileState) -> None:
        found = self.read(path)
        if found is not None and found.kind == "directory":
            raise Fatal("write-failed", f"cannot write {path}: it is a directory")
        entries, inside = self._writable(path)
        entries[inside] = state
        self.assets.pop(path, None)

    def _locate(self, path: str) -> tuple[dict[str, FileState], str]:
        for point, entries in self.mounted.items():
            if path == point or path.startswith(f"{point}/"):
                return entries, path.removeprefix(point) or "/"
        return self.entries, path

    def _writable(self, path: str) -> tuple[dict[str, FileState], str]:
        entries, inside = self._locate(path)
        if entries is self.entries and any(path.startswith(f"{point}/") for point in self.protected):
            raise Fatal("write-failed", f"cannot write {path}: the mount point is immutable and nothing is mounted")
        for end in (index for index, letter in enumerate(inside) if letter == "/" and index > 0):
            if (above := entries.get(inside[:end])) is not None and above.kind != "directory":
                raise Fatal("write-failed", f"cannot write {path}: {inside[:end]} is a {above.kind}")
        return entries, inside
