"""HostsBlock: a marked block in /etc/hosts, which belongs to the machine and to other programs too."""

import difflib
from dataclasses import dataclass

from units.errors import Fatal
from units.host import Host
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
        before = self._current(host)
        after = self._with_block(before)
        if before == after:
            return None
        old, new = (text.decode(errors="replace").splitlines() for text in (before, after))
        return Change("update", "\n".join(difflib.unified_diff(old, new, self.path, self.path, lineterm="", n=1)))

    def apply(self, host: Host) -> None:
        content = self._with_block(self._current(host))
        host.files.write(self.path, content, mode=0o644, owner="root", group="root")

    def describe(self) -> Description:
        return Description(self.key, tuple(self._lines()))

    def _current(self, host: Host) -> bytes:
        state = host.files.read(self.path)
        if state is None:
            return b""
        if state.content is None:
            raise Fatal(
                "hosts-not-a-file",
                f"{self.path} is a {state.kind} that cannot be edited; a regular file is allowed",
                remedy=f"replace it by a regular file: `ls -l {self.path}`",
            )
        return state.content

    def _lines(self) -> list[str]:
        return [f"{address} {' '.join(names)}" for address, names in self.entries]

    def _with_block(self, text: bytes) -> bytes:
        begin, end = f"# begin bootwright {self.name}\n".encode(), f"# end bootwright {self.name}\n".encode()
        lines = text.splitlines(keepends=True)  # of bytes: at \n, \r and \r\n only
        kept, place = _without_blocks(lines, begin.strip(), end.strip())
        block = [begin, *(f"{line}\n".encode() for line in self._lines()), end] if self.entries else []
        above = kept[:place]
        if block and above and not above[-1].endswith((b"\n", b"\r")):
            above[-1] += b"\n"
        return b"".join([*above, *block, *kept[place:]])


def _without_blocks(lines: list[bytes], begin: bytes, end: bytes) -> tuple[list[bytes], int]:
    """What is not ours, and the index in it where our first block was (the end, without one).

    A begin without its end, or the other way round, is a stray mark: the mark goes, the lines around it stay.
    """
    kept: list[bytes] = []
    place: int | None = None
    position = 0
    while position < len(lines):
        mark = lines[position].strip()
        if mark == begin:
            place = len(kept) if place is None else place
            following = [line.strip() for line in lines[position + 1 :]]
            closes = following.index(end) if end in following else None
            if closes is not None and begin not in following[:closes]:
                position += closes + 1
        elif mark != end:
            kept.append(lines[position])
        position += 1
    return kept, len(kept) if place is None else place
