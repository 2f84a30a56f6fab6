"""A marked block in the text of /etc/hosts. Plain functions with few imports: a poll calls them every minute."""

from collections.abc import Sequence


def with_block(text: bytes, name: str, lines: Sequence[str]) -> bytes:
    """The text with this block in it; without lines, without the block. Every byte outside the marks stays."""
    begin, end = _marks(name)
    kept, place = _without_blocks(text.splitlines(keepends=True), begin, end)  # of bytes: at \n, \r and \r\n only
    block = [begin + b"\n", *(f"{line}\n".encode() for line in lines), end + b"\n"] if lines else []
    above = kept[:place]
    if block and above and not above[-1].endswith((b"\n", b"\r")):
        above[-1] += b"\n"
    return b"".join([*above, *block, *kept[place:]])


def block_lines(text: bytes, name: str) -> tuple[str, ...]:
    """What lies between the marks of the first whole block; nothing if there is none."""
    begin, end = _marks(name)
    lines = [line.strip() for line in text.splitlines()]
    for start in (number for number, line in enumerate(lines) if line == begin):
        inside = lines[start + 1 :]
        stop = inside.index(end) if end in inside else None
        if stop is not None and begin not in inside[:stop]:
            return tuple(line.decode(errors="replace") for line in inside[:stop])
    return ()


def _marks(name: str) -> tuple[bytes, bytes]:
    return f"# begin bootwright {name}".encode(), f"# end bootwright {name}".encode()


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
