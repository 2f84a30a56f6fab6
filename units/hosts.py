"""HostsBlock: a marked block in /etc/hosts, which belongs to the machine and to other programs too."""

import difflib
from dataclasses import dataclass

from units.errors import Fatal
from units.host import Host
from units.hosts_text import with_block
from units.resource import Change, Description

PATH = "/etc/hosts"


@dataclass(frozen=True, slots=True)
class HostsBlock:
    """Lines between two marks. Every byte outside them is left alone, and the block stays where it is."""

    name: str
    entries: tuple[tuple[str, tuple[str, ...]], ...]  # address, names
    path: str = PATH

    @property
    def key(self) -> str:
        return f"hosts-block:{self.name}"

    def check(self, host: Host) -> Change | None:
        before = hosts_content(host, self.path)
        after = with_block(before, self.name, self._lines())
        if before == after:
            return None
        old, new = (text.decode(errors="replace").splitlines() for text in (before, after))
        return Change("update", "\n".join(difflib.unified_diff(old, new, self.path, self.path, lineterm="", n=1)))

    def apply(self, host: Host) -> None:
        content = with_block(hosts_content(host, self.path), self.name, self._lines())
        host.files.write(self.path, content, mode=0o644, owner="root", group="root")

    def describe(self) -> Description:
        return Description(self.key, tuple(self._lines()))

    def _lines(self) -> list[str]:
        return [f"{address} {' '.join(names)}" for address, names in self.entries]


def hosts_content(host: Host, path: str = PATH) -> bytes:
    """Empty without the file. Fatal if something else lies there."""
    state = host.files.read(path)
    if state is None:
        return b""
    if state.content is None:
        raise Fatal(
            "hosts-not-a-file",
            f"{path} is a {state.kind} that cannot be edited; a regular file is allowed",
            remedy=f"replace it by a regular file: `ls -l {path}`",
        )
    return state.content
