"""Text of others on a terminal: it may say what it likes there, and do nothing."""

_KEPT = "\n\t"


def printable(text: str) -> str:
    """Without control characters: what nodes and bucket writers put into a text must not drive a terminal."""
    return "".join(c if c.isprintable() or c in _KEPT else f"\\x{ord(c):02x}" for c in text)
