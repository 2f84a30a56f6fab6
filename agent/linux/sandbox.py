"""Paths as the node sees them, resolved below a root directory."""

from pathlib import Path

from units.errors import Fatal

_MOST_LINKS = 40  # the kernel's own limit


class Sandbox:
    """With root "/" the kernel resolves paths; with another root we do, and never leave it.

    A sandbox is for tests, previews and benchmarks. Between resolving and using a path nobody hostile may write
    below the root: against that only a real chroot would help.
    """

    def __init__(self, root: str | Path = "/") -> None:
        self.root = Path(root).resolve()

    def resolve(self, path: str) -> Path:
        """The real path of `path`. Symlinks in its directories are followed as chroot would; the last part is not."""
        parts = path.split("/")
        if not path.startswith("/") or ".." in parts or "\0" in path:
            raise Fatal("path-invalid", f"{path!r} is not an absolute path without `..`")
        seen = Path(path)
        if self.root == Path("/"):
            return seen
        return self._walk(seen.parent) / seen.name

    def _walk(self, directory: Path) -> Path:
        inside: list[str] = []
        left = list(reversed(directory.parts[1:]))
        links = 0
        while left:
            part = left.pop()
            if part == "..":  # out of a link's target; above the root there is only the root
                inside = inside[:-1]
                continue
            here = self.root.joinpath(*inside, part)
            if not here.is_symlink():
                inside.append(part)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise Fatal("path-invalid", f"{directory} goes through more than {_MOST_LINKS} symlinks")
            target = here.readlink()
            if target.is_absolute():
                inside = []
            left.extend(part for part in reversed(target.parts) if part != "/")
        return self.root.joinpath(*inside)
