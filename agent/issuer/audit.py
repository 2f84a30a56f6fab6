"""The issuer's journal: one line for each request, with a code. Never a token, a signature or a key."""

import logging
from collections.abc import Iterable

from units.errors import BootwrightError

logger = logging.getLogger("bootwright.issuer")


def issued(source: str, *, instance: str, node: str, group: str, how: str, profiles: Iterable[str]) -> None:
    logger.info(
        "issued certificates to %s",
        node,
        extra={"source": source, "instance": instance, "group": group, "proof": how, "profiles": ",".join(profiles)},
    )


def refused(source: str, error: BootwrightError, *, proven: str) -> None:
    """`proven`: who asked, as far as it is known; "" before that."""
    logger.warning(
        "refused: %s",
        printable(error.message),
        extra={"code": error.code, "source": source, "proven": proven or "nobody"},
    )


def printable(text: str) -> str:
    """Some of it comes from strangers: one line, bounded."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:500])
